"""A disk image of one file in FUSE that logs every block write and flush: `MOUNT IMAGE LOG` serves it until unmounted.

A loop device stands on the file, and a file system on that. The kernel's loop driver writes blocks in the order in
which the file system issues them, and turns a flush of the device into an fsync of the file, so that the log holds what
a disk would have seen. Whoever uses the file system appends marks to the same log: what they were promised by then.
"""

import errno
import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import mfusepy

NAME = "disk.img"
Kind = Literal["write", "flush", "mark"]
KINDS: tuple[Kind, ...] = ("write", "flush", "mark")
_HEAD = struct.Struct("<BQI")


class Entry(NamedTuple):
    kind: Kind
    offset: int
    data: bytes


def pack(kind: Kind, offset: int = 0, data: bytes = b"") -> bytes:
    return _HEAD.pack(KINDS.index(kind), offset, len(data)) + data


def entries(log: Path) -> Iterator[Entry]:
    """Everything in the order in which it happened."""
    data, at = log.read_bytes(), 0
    while at < len(data):
        kind, offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        yield Entry(KINDS[kind], offset, data[at - length : at])


def open_log(log: Path) -> int:
    """For appending, whole entries at a time, from any process."""
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class LoggedImage(mfusepy.Operations):
    """The file system with the one file."""

    use_ns = True

    def __init__(self, image: Path, log: Path) -> None:
        self._image, self._log = os.open(image, os.O_RDWR), open_log(log)
        self._size = os.fstat(self._image).st_size

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == f"/{NAME}":
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": self._size}
        raise mfusepy.FuseOSError(errno.ENOENT)

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", NAME]

    def open(self, path: str, flags: int) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(self._image, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        os.write(self._log, pack("write", offset, data))
        return os.pwrite(self._image, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        os.write(self._log, pack("flush"))
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0


if __name__ == "__main__":
    mfusepy.FUSE(LoggedImage(Path(sys.argv[2]), Path(sys.argv[3])), sys.argv[1], foreground=True, nothreads=True)
