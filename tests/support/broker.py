"""A broker in a process of its own, for tests that play the device's side: mosquitto or amqtt."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.wait import wait_until

HOST = "127.0.0.1"
CONFIGURATION = "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type error\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextmanager
def running(kind: str, directory: Path, port: int | None = None, *, settings: str = "") -> Iterator[int]:
    """The port of a broker of `kind`, ready. Skips the test where mosquitto is asked for and missing.

    `settings` are more lines for the file of mosquitto.
    """
    port = port or free_port()
    process = subprocess.Popen(_command(kind, directory, port, settings), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), f"{kind} listens")
        yield port
    finally:
        process.kill()
        process.wait()


def _command(kind: str, directory: Path, port: int, settings: str) -> list[str]:
    if kind == "amqtt":
        return [sys.executable, "-m", "wherry.controller.adapters.amqtt_broker", HOST, str(port)]
    program = require_mosquitto()
    path = directory / f"mosquitto-{port}.conf"
    path.write_text(CONFIGURATION.format(port=port) + settings)
    return [program, "-c", str(path)]


def require_mosquitto() -> str:
    """Its path. Skips the test where it is missing."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    return program
