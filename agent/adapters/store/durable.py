"""Writes that are on the disk when the call returns."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.agent.errors import Shortage, StoreError

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in `path` durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_new(path: Path, data: bytes) -> None:
    """Create `path` whole or not at all: a temporary name, fsync, rename, fsync of the directory."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def overwrite(path: Path, data: bytes) -> None:
    """Write over `path` in place, so that a full disk does not stop it once it exists.

    Not atomic: a cut leaves anything. For files of which another copy is valid meanwhile.
    """
    created = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(handle, data[written:], written)
        os.ftruncate(handle, len(data))
        os.fsync(handle)
    finally:
        os.close(handle)
    if created:
        sync_directory(path.parent)


def remove_others(directory: Path, keep: Iterable[str]) -> int:
    """Remove every file in `directory` that `keep` does not name; how many went. Not durable at once."""
    kept = set(keep)
    gone = [path for path in directory.iterdir() if path.name not in kept]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the disk says into a StoreError that names what was being done, a Shortage where it was not asked."""
    try:
        yield
    except OSError as error:
        kind = Shortage if error.errno in SHORTAGES else StoreError
        raise kind(f"{what}: {error.strerror or error}") from error
