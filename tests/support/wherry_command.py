"""The command `wherry` as a person runs it: its exit status and what it said."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.cargo_hold import FLEET, Version
from tests.support.wait import wait_until
from wherry.controller.cli.__main__ import run

WHERRY = [sys.executable, "-m", "wherry.controller.cli"]
LIMIT_S = 60

NO_CONTEXTS = str(Path(__file__).with_name("no-contexts.json"))
"""There is none: what whoever runs the tests has at home is none of theirs."""


class Said(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def wherry(*arguments: str | Path, url: str | None = None) -> Said:
    """Run one command to its end, in this process: importing everything anew would take most of the time."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.delenv("WHERRY_URL", raising=False)
        patch.setenv("WHERRY_CONTEXTS", os.environ.get("WHERRY_CONTEXTS", NO_CONTEXTS))
        if url is not None:
            patch.setenv("WHERRY_URL", url)
        status = run([str(argument) for argument in arguments])
    return Said(status, out.getvalue(), err.getvalue())


def wherry_process(*arguments: str | Path) -> Said:
    """The same in a process of its own."""
    done = subprocess.run(
        [*WHERRY, *map(str, arguments)],
        stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


class ControllerCommand:
    """`wherry controller --json` on free ports; `running` is what it printed once it answered."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        command = [*WHERRY, "controller", "--data-dir", str(data_dir), "--fleet", FLEET, "--json"]
        self._log = data_dir.with_name(data_dir.name + ".log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--http-port", "0", "--mqtt-port", "0", *options], stdout=subprocess.PIPE, stderr=self._log
        )
        assert self.process.stdout is not None
        self.running = json.loads(self.process.stdout.readline() or b"null")
        if self.running is None:
            self.stop()
            raise AssertionError("the controller did not start: " + Path(self._log.name).read_text())

    @property
    def url(self) -> str:
        return str(self.running["url"])

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit status."""
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(by)
        status = self.process.wait(LIMIT_S)
        self.process.stdout.close()
        self._log.close()
        return status


def write_package(directory: Path, version: Version) -> Path:
    """`version` as `wherry convert` would have left it."""
    directory.mkdir(parents=True)
    (_, manifest), (_, artifact), (_, golden) = version.blobs
    for name, data in (("manifest.json", manifest), ("int8.tflite", artifact), ("int8.golden", golden)):
        (directory / name).write_bytes(data)
    (directory / "report.json").write_bytes(b"{}")
    return directory


def interrupt(process: "subprocess.Popen[bytes]", ready: Path) -> int:
    """Ctrl-C once the process has written to `ready`; its exit status."""
    wait_until(lambda: ready.stat().st_size > 0, "it is at work", LIMIT_S)
    process.send_signal(signal.SIGINT)
    return process.wait(LIMIT_S)
