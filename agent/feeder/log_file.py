"""Results in a file, a line each.

Rules upheld here:
- The file is begun anew where a line would make it longer than the limit; the one before is kept as `<name>.1`, so
  that twice the limit is the most that is used.
- A line is in the file whole or not at all: what a disk took of it before it was full is taken back.
- A disk that is full or cannot be written costs lines, and nothing else. Each line is tried anew: the file may be
  moved, removed or made room for at any time.
"""

import errno
import os
from pathlib import Path
from typing import BinaryIO


class LogFile:
    """See `results.Sink`."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.trouble = ""

    def put(self, line: bytes) -> bool:
        try:
            self._write(line + b"\n")
        except OSError as error:
            self.trouble = f"results: {self._path}: {error.strerror or error}"
            return False
        self.trouble = ""
        return True

    def take_dropped(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, data: bytes) -> None:
        with self._path.open("ab", buffering=0) as file:
            size = file.tell()
            if not size or size + len(data) <= self._max_bytes:
                _append(file, data)
                return
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("ab", buffering=0) as file:
            _append(file, data)


def _append(file: BinaryIO, data: bytes) -> None:
    """A disk that fills up takes a part, and says so by the count alone. Raises OSError."""
    size = file.tell()
    if file.write(data) < len(data):
        file.truncate(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
