"""A real PostgreSQL server of our own, on a Unix socket, for as long as a block lasts."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"
UNSAFE = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c jit=off"
"""Nobody cuts the power of this server, so nothing waits for the disk."""


def reason_against() -> str | None:
    """Why there can be none here; None where there can."""
    return None if _program("initdb") else "PostgreSQL is not installed"


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(PROGRAMS)), os.environ["PATH"]]))


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server, to which the name of a database is added."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as text:
        directory = Path(text)
        _own(directory)
        account = ("--username", USER, "--auth", "trust", "--encoding", "UTF8")
        _run("initdb", "--no-sync", "--pgdata", f"{directory}/data", *account)
        options = f"-c listen_addresses= -c unix_socket_directories={directory} {UNSAFE}"
        control = ("--pgdata", f"{directory}/data", "--wait", "--log", f"{directory}/log")
        _run("pg_ctl", *control, "--options", options, "start")
        try:
            yield f"postgresql://{USER}@/{{}}?host={directory}"
        finally:
            _run("pg_ctl", *control, "--mode", "immediate", "stop")


def create_database(url: str, name: str, template: str = "template1") -> str:
    """The URL of a new database, empty or a copy of another one to which nobody is connected."""
    with psycopg.connect(url.format("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'.encode())
    return url.format(name)


def _own(directory: Path) -> None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() == 0:
        shutil.chown(directory, USER)


def _run(name: str, *arguments: str) -> None:
    program = _program(name)
    assert program is not None
    user = USER if os.getuid() == 0 else None
    done = subprocess.run(
        [program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, user=user, cwd="/"
    )
    assert done.returncode == 0, done.stderr
