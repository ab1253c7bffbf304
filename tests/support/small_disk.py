"""A file system of a few megabytes that a test fills to the last byte."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.support.loop_disk import NoLoopDisk, loop_device, make_ext4, tool

Kind = Literal["tmpfs", "ext4"]
SIZE_MIB = 4
CHUNK_BYTES = 512


class SmallDisk:
    """`path` is where it is mounted. What fills it lies in a file of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Leave at most so much room; again and again, for a file system gives back what it had only set aside."""
        handle = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while self.free_bytes > leave_bytes and self._grow(handle, leave_bytes):
                os.fsync(handle)
        finally:
            os.close(handle)

    def _grow(self, handle: int, leave_bytes: int) -> int:
        """Until the disk takes no more, or leaves what it is to leave; how many bytes it took."""
        taken = 0
        try:
            while self.free_bytes > leave_bytes:
                taken += os.write(handle, bytes(CHUNK_BYTES))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        return taken

    def relieve(self) -> None:
        """Give all the room back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(directory: Path, kind: Kind) -> Iterator[SmallDisk]:
    """Raises NoLoopDisk where this user may not mount."""
    path = directory / "disk"
    path.mkdir()
    if kind == "tmpfs":
        with _mount(["-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs"], path):
            yield SmallDisk(path)
        return
    make_ext4(directory / "disk.img", SIZE_MIB, "-m", "0", "-O", "^has_journal")
    with loop_device(directory / "disk.img") as device, _mount(["-t", "ext4", device], path):
        yield SmallDisk(path)


@contextmanager
def _mount(arguments: list[str], path: Path) -> Iterator[None]:
    done = subprocess.run([tool("mount"), *arguments, str(path)], capture_output=True, text=True)
    if done.returncode:
        raise NoLoopDisk(f"mounting a disk of its own takes root: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([tool("umount"), "--lazy", str(path)], check=True)
