"""The package of a conversion: a directory that appears whole or not at all.

Everything is made in a hidden sibling of the wanted directory, flushed to disk, and renamed into
place. A run that fails or is interrupted takes its sibling away; one that was killed leaves it, and the
next run for the same directory sweeps it. The sibling of a living run is locked, and left alone.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.converters.errors import OutputError

MAX_NAME_BYTES = 200
"""File systems take 255; the hidden sibling's name is longer than the directory's own."""

REFUSED = ".refused"
"""What the name of a package's directory ends with where only a report came about."""

TENSORFLOW_FULL = "ResourceExhaustedError"
"""What TensorFlow makes of a full disk; it is not imported here."""


@dataclass(frozen=True)
class Staging:
    """Where a conversion works: `scratch` is thrown away, `package` becomes the directory."""

    out_dir: Path
    root: Path

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def package(self) -> Path:
        return self.root / "package"

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the package and flush it to disk."""
        with (self.package / name).open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Rename the package to its place; the last step of a conversion. A refusal from before makes way."""
        _fsync_dir(self.package)
        try:
            self.package.rename(self.out_dir)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise OutputError(
                f"{self.out_dir}: was made by somebody else meanwhile", "choose another directory"
            ) from error
        _fsync_dir(self.out_dir.parent)
        shutil.rmtree(self.out_dir.with_name(f"{self.out_dir.name}{REFUSED}"), ignore_errors=True)


def leave(stage: Staging, files: dict[str, bytes]) -> Path:
    """Put the report of a refused conversion beside the place of its package, instead of an older one."""
    for name, content in files.items():
        stage.write(name, content)
    place = stage.out_dir.with_name(f"{stage.out_dir.name}{REFUSED}")
    old = stage.root / "old"
    if place.exists():
        place.rename(old)
    stage.package.rename(place)
    return place


def check_free(out_dir: Path) -> None:
    """Raises OutputError where a package cannot be put."""
    if len(os.fsencode(out_dir.name)) > MAX_NAME_BYTES:
        raise OutputError(f"{out_dir.name[:40]}…: the name is too long", f"use at most {MAX_NAME_BYTES} bytes")
    if out_dir.exists() or out_dir.is_symlink():
        raise OutputError(f"{out_dir}: exists already", "remove it or choose another directory")
    if not out_dir.parent.is_dir():
        raise OutputError(f"{out_dir.parent}: no such directory", "create it first")


@contextmanager
def staging(out_dir: Path) -> Iterator[Staging]:
    """A locked place to work beside `out_dir`, gone at the end. Raises OutputError."""
    prefix = f".{out_dir.name}.partial-"
    try:
        _sweep(out_dir.parent, prefix)
        root = Path(tempfile.mkdtemp(prefix=prefix, dir=out_dir.parent))
    except OSError as error:
        raise OutputError(f"{out_dir.parent}: {error.strerror}", "choose a directory that you may write to") from error
    lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stage = Staging(out_dir, root)
        stage.scratch.mkdir()
        stage.package.mkdir()
        yield stage
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or type(error).__name__ == TENSORFLOW_FULL:
            raise OutputError(f"{out_dir.parent}: no space left on the device", "free some space") from error
        raise
    finally:
        shutil.rmtree(root, ignore_errors=True)
        os.close(lock)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove what killed runs left: siblings that nobody holds locked."""
    for left in parent.iterdir():
        if not left.name.startswith(prefix) or not left.is_dir() or left.is_symlink():
            continue
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _fsync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
