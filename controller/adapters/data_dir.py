"""The data directory: used by one controller at a time, and told about in `controller.json`."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from wherry.controller.config import RUN_FILE, RunFile
from wherry.controller.errors import Unavailable

LOCK_FILE = "controller.lock"


@contextmanager
def usable(data_dir: Path) -> Iterator[None]:
    """Raises Unavailable, in one line, where something in the directory cannot be made, read or written."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and Path(str(error.filename)) != data_dir else ""
        raise Unavailable(
            f"cannot use the data directory {data_dir}{where}: {error.strerror}", "choose another with --data-dir"
        ) from error


@contextmanager
def claim(data_dir: Path) -> Iterator[None]:
    """Make the directory and hold it. Raises Unavailable where that fails or another one holds it.

    The kernel lets go when the process ends, however it ends. Not inherited by children: a broker
    that takes a moment to end does not keep the next controller out.
    """
    with usable(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Unavailable(
            f"another controller runs on {data_dir}", "end it first, or choose another directory with --data-dir"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def announce(data_dir: Path, run: RunFile) -> Iterator[None]:
    """`controller.json` appears whole, and is gone after a clean end."""
    path = data_dir / RUN_FILE
    body = msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n"
    with tempfile.NamedTemporaryFile(dir=data_dir, prefix=f".{RUN_FILE}", delete=False) as file:
        file.write(body)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
