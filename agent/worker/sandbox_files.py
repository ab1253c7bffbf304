"""Landlock: all files but a few are closed to this process, whoever its user is.

Rules upheld here:
- What stays open for reading is Python with its packages, what tells of the processor (without it XNNPACK is 200
  times slower), and the model. Nothing can be written, made, removed or run.
- Where the kernel knows how, TCP, signals to other processes and abstract Unix sockets are closed too.
- Threads that are there already are not held: this must come before the first one is started.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Sequence

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_TELL_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3

FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Every right that a version of Landlock knows, from that version on."""
NET_VERSION, NET_RIGHTS = 4, 0b11  # to bind, to connect
SCOPE_VERSION, SCOPES = 6, 0b11  # abstract Unix sockets, signals

OF_THE_PROCESSOR = ("/proc/cpuinfo", "/proc/self/statm", "/sys/devices/system/cpu")

_ABSENT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
"""EPERM is what a container or a service says whose filter does not know the call."""


def version() -> int:
    """Of Landlock in this kernel; 0 where there is none."""
    try:
        return _call(_CREATE, None, 0, _TELL_VERSION)
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise


def readable(model: int) -> list[int]:
    """What may be read later, as open files: to be found now, while everything can be."""
    found = [os.dup(model)]
    for path in {*OF_THE_PROCESSOR, *sys.path}:
        with contextlib.suppress(OSError):
            found.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
    return found


def close_others(readable: Sequence[int]) -> None:
    """Let this process read what is `readable` and below, and nothing else; those files are closed. Raises OSError.

    Without Landlock nothing is closed but those.
    """
    try:
        if known := version():
            _restrict(known, readable)
    finally:
        for file in readable:
            os.close(file)


def _restrict(known: int, readable: Sequence[int]) -> None:
    rights = FILE_RIGHTS[max(number for number in FILE_RIGHTS if number <= known)]
    net = NET_RIGHTS if known >= NET_VERSION else 0
    scopes = SCOPES if known >= SCOPE_VERSION else 0
    attributes = struct.pack("=QQQ", rights, net, scopes)
    rules = _call(_CREATE, attributes, len(attributes), 0)
    try:
        for file in readable:
            _allow(rules, file)
        _call(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, file: int) -> None:
    is_directory = stat.S_ISDIR(os.fstat(file).st_mode)
    rule = struct.pack("=Qi", _READ_FILE | _READ_DIR if is_directory else _READ_FILE, file)
    try:
        _call(_ADD, rules, _PATH_BENEATH, rule, 0)
    except OSError as error:
        if error.errno != errno.EBADFD:  # a file in memory alone, which Landlock never closes
            raise


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
