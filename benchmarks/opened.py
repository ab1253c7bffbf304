"""When files of a directory are opened, by whatever process: Linux's inotify."""

import ctypes
import os
import select
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.form import Failed

IN_OPEN = 0x20  # linux/inotify.h
_EVENT = struct.Struct("iIII")
_READ_BYTES = 64 * 1024


class Opened:
    """Watches one directory; leave the `with` block to stop."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._handle < 0 or libc.inotify_add_watch(self._handle, os.fsencode(directory), IN_OPEN) < 0:
            raise Failed(f"{directory} cannot be watched: {os.strerror(ctypes.get_errno())}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._handle)

    def forget(self) -> None:
        """Pass over whatever was opened until now."""
        while self._names(0):
            pass

    def wait_for(self, name: str, limit_s: float) -> float:
        """When `name` is opened next, on the clock of `time.perf_counter`. Raises Failed."""
        deadline_s = time.perf_counter() + limit_s
        while (left_s := deadline_s - time.perf_counter()) > 0:
            if name in self._names(left_s):
                return time.perf_counter()
        raise Failed(f"nobody opened {name} within {limit_s:g} s")

    def _names(self, limit_s: float) -> list[str]:
        ready, _, _ = select.select([self._handle], [], [], limit_s)
        if not ready:
            return []
        data, names, at = os.read(self._handle, _READ_BYTES), [], 0
        while at < len(data):
            *_, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            names.append(data[at : at + length].rstrip(b"\0").decode())
            at += length
        return names
