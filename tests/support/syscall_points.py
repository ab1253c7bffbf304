"""Stops a child process before each of its system calls on a directory, and lets it go on, fail, or die there.

The kernel itself asks: a seccomp filter of the child sends every call of the listed names to this process and holds the
child until there is an answer (`man seccomp_unotify`). So a call that was refused or killed was never carried out, and
one that was let go is carried out by the kernel with the child's own arguments. Only calls that touch the directory are
counted, and those on sockets.
"""

import contextlib
import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

Where = Literal["path-0", "path-1", "file", "socket"]
"""In which argument a call says what it is about."""

CALLS: dict[str, tuple[int | None, int | None, Where]] = {
    "open": (2, None, "path-0"), "openat": (257, 56, "path-1"),
    "read": (0, 63, "file"), "pread64": (17, 67, "file"), "getdents64": (217, 61, "file"),
    "write": (1, 64, "file"), "pwrite64": (18, 68, "file"),
    "fsync": (74, 82, "file"), "fdatasync": (75, 83, "file"),
    "ftruncate": (77, 46, "file"), "fallocate": (285, 47, "file"), "flock": (73, 32, "file"),
    "rename": (82, None, "path-0"), "renameat": (264, 38, "path-1"), "renameat2": (316, 276, "path-1"),
    "link": (86, None, "path-0"), "linkat": (265, 37, "path-1"),
    "unlink": (87, None, "path-0"), "unlinkat": (263, 35, "path-1"), "rmdir": (84, None, "path-0"),
    "mkdir": (83, None, "path-0"), "mkdirat": (258, 34, "path-1"),
    "chmod": (90, None, "path-0"), "fchmod": (91, 52, "file"), "fchmodat": (268, 53, "path-1"),
    "stat": (4, None, "path-0"), "newfstatat": (262, 79, "path-1"), "statx": (332, 291, "path-1"),
    "statfs": (137, 43, "path-0"), "fstatfs": (138, 44, "file"),
    "socket": (41, 198, "socket"), "connect": (42, 203, "socket"),
    "sendto": (44, 206, "socket"), "sendmsg": (46, 211, "socket"),
}  # fmt: skip
"""Numbers on x86-64 and on aarch64, which does without the older ones."""

READING = ("read", "pread64", "getdents64", "stat", "newfstatat", "statx", "statfs", "fstatfs", "flock")
CHANGING = tuple(name for name, (_, _, where) in CALLS.items() if name not in READING and where != "socket")
ON_SOCKETS = ("socket", "connect", "sendto", "sendmsg")

Go = Literal["go", "kill", "tear"]
Answer = Go | int
"""`tear` kills in the middle of a write: half of its bytes arrive. An int is the error that the call fails with; it is
not carried out then."""

WRITES = ("write", "pwrite64")
OPENS = {"open": 1, "openat": 2}
"""In which argument their flags are."""

_COLUMN = {"x86_64": 0, "aarch64": 1}
_SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _NEW_LISTENER, _NO_NEW_PRIVILEGES = 1, 8, 38
_RET_ALLOW, _RET_ASK = 0x7FFF0000, 0x7FC00000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_GO_ON = 1
_NOTICE = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_PATH_BYTES = 4096
CHILD_LIMIT_MS = 60_000


class Call(NamedTuple):
    """`number` counts from 1; `path` is below the directory, or `socket`; `flags` are those of an open."""

    number: int
    name: str
    path: str
    flags: int = 0

    @property
    def is_for_writing(self) -> bool:
        """Whether it is an open that may change something, or a call that does."""
        return (
            bool(self.flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if self.name in OPENS else self.name in CHANGING
        )


class Unsupported(Exception):
    """This kernel or machine does not let a process watch another one's calls."""


def numbers(names: tuple[str, ...]) -> dict[int, tuple[str, Where]]:
    machine = platform.machine()
    if machine not in _COLUMN:
        raise Unsupported(f"the numbers of system calls on {machine} are not listed")
    column = _COLUMN[machine]
    return {CALLS[name][column]: (name, CALLS[name][2]) for name in names if CALLS[name][column] is not None}


def try_out() -> None:
    """Raises Unsupported where this process may not watch another one."""
    watched(lambda: None, Path("/nowhere"), ("openat",), lambda _call: "go")


def watched(
    child: Callable[[], None],
    directory: Path,
    names: tuple[str, ...],
    decide: Callable[[Call], Answer],
    hear: Callable[[], None] = lambda: None,
    listen_to: socket.socket | None = None,
) -> int:
    """Run `child` in a process of its own; how it ended, as `Popen.returncode`. Raises Unsupported.

    `hear` is called when `listen_to` has something to read, and before every decision.
    """
    asked = numbers(names)
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _be_watched(child, tuple(asked), there)
    there.close()
    try:
        listener = _receive_listener(here)
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        try:
            here.send(b"!")
            _serve(pid, listener, memory, str(directory), asked, decide, hear, listen_to)
        finally:
            os.close(memory)
            os.close(listener)
    except PermissionError as error:
        raise Unsupported(f"what a child process does cannot be read: {error}") from error
    finally:
        here.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    hear()
    return os.waitstatus_to_exitcode(status)


def _be_watched(child: Callable[[], None], asked: tuple[int, ...], control: socket.socket) -> None:
    """In the child: give the parent the listener, then run. Never returns."""
    status = 70
    try:
        listener = _install(asked, control.fileno())
        socket.send_fds(control, [b"listener"], [listener])
        os.close(listener)
        control.recv(1)  # the parent is ready
        child()
        status = 0
    except Unsupported as error:
        control.send(str(error).encode())
    except BaseException:  # noqa: BLE001  this process must not go on as a copy of the test
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _receive_listener(control: socket.socket) -> int:
    message, handles, _, _ = socket.recv_fds(control, 1024, 1)
    if not handles:
        raise Unsupported(message.decode() or "the child ended before it was watched")
    return handles[0]


def _serve(
    pid: int,
    listener: int,
    memory: int,
    directory: str,
    asked: dict[int, tuple[str, Where]],
    decide: Callable[[Call], Answer],
    hear: Callable[[], None],
    listen_to: socket.socket | None,
) -> None:
    """Answer until the child is gone, or is to be killed."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    if listen_to is not None:
        poll.register(listen_to, select.POLLIN)
    count = 0
    while True:
        ready = dict(poll.poll(CHILD_LIMIT_MS))
        assert ready, "the watched process did nothing for a minute"
        hear()
        if ready.get(listener, 0) & select.POLLIN:
            notice = bytearray(_NOTICE.size)
            try:
                fcntl.ioctl(listener, _RECEIVE, notice)
            except FileNotFoundError:
                continue  # it died while it waited
            cookie, _, _, number, _, _, *arguments = _NOTICE.unpack(notice)
            name, where = asked[number]
            path = _subject(pid, memory, where, arguments)
            answer: Answer = "go"
            if where == "socket":
                path = f"{directory}/socket"
            if path == directory or path.startswith(directory + "/"):
                count += 1
                flags = arguments[OPENS[name]] if name in OPENS else 0
                answer = decide(Call(count, name, path[len(directory) + 1 :], flags))
            if answer in ("kill", "tear"):
                if answer == "tear":
                    _write_half(pid, memory, name, arguments)
                os.kill(pid, signal.SIGKILL)  # while it is still held
                return
            _reply(listener, cookie, answer)
        elif ready.get(listener, 0) & (select.POLLHUP | select.POLLERR):
            return


def _reply(listener: int, cookie: int, answer: Answer) -> None:
    error = answer if isinstance(answer, int) else 0
    with contextlib.suppress(FileNotFoundError):
        fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(cookie, 0, -error, 0 if error else _GO_ON)))


def _write_half(pid: int, memory: int, name: str, arguments: list[int]) -> None:
    """What the child was about to write, cut short."""
    number, address, length, offset = arguments[:4]
    if name == "write":
        offset = int(Path(f"/proc/{pid}/fdinfo/{number}").read_text().split()[1])
    handle = os.open(f"/proc/{pid}/fd/{number}", os.O_WRONLY)
    try:
        os.pwrite(handle, os.pread(memory, length // 2, address), offset)
    finally:
        os.close(handle)


def _subject(pid: int, memory: int, where: Where, arguments: list[int]) -> str:
    """The path that a call is about; empty for a socket and for what cannot be told."""
    if where == "socket":
        return ""
    try:
        if where != "file":
            path = _string_at(memory, arguments[0 if where == "path-0" else 1])
            if path:
                return path
        return str(Path(f"/proc/{pid}/fd/{arguments[0] & 0xFFFFFFFF}").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def _string_at(memory: int, address: int) -> str:
    if address == 0:
        return ""
    length = min(_PATH_BYTES, 4096 - address % 4096)
    found = os.pread(memory, length, address)
    if b"\0" not in found:
        found += os.pread(memory, _PATH_BYTES, address + length)
    return os.fsdecode(found.split(b"\0", 1)[0])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _install(asked: tuple[int, ...], control: int) -> int:
    """The listener of a new filter of this process. Nothing that `control` sends is asked about."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = _filter(asked, _sendmsg(), control)
    program = _Program(len(code) // 8, code)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    listener = libc.syscall(
        ctypes.c_long(_SECCOMP_CALL[platform.machine()]), ctypes.c_long(_SET_MODE_FILTER),
        ctypes.c_long(_NEW_LISTENER), ctypes.byref(program),
    )  # fmt: skip
    if listener < 0:
        raise Unsupported(f"seccomp gives no listener: {os.strerror(ctypes.get_errno())}")
    return int(listener)


def _sendmsg() -> int:
    return next(iter(numbers(("sendmsg",))))


def _filter(asked: tuple[int, ...], sendmsg: int, control: int) -> bytes:
    """Ask about the calls that are listed, except about `sendmsg` on `control`."""

    def line(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, jump_true, jump_false, value)

    count = len(asked)
    lines = [
        line(_LOAD, 0, 0, 0),  # the number of the call
        line(_EQUAL, 0, 2, sendmsg),
        line(_LOAD, 0, 0, 16),  # its first argument
        line(_EQUAL, count + 1, 0, control),
        line(_LOAD, 0, 0, 0),
        *(line(_EQUAL, count - index, 0, number) for index, number in enumerate(asked)),
        line(_RETURN, 0, 0, _RET_ALLOW),
        line(_RETURN, 0, 0, _RET_ASK),
    ]
    return b"".join(lines)
