"""A child process of passes that behave badly, with the options of the real one."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from wherry.converters.errors import BadRequest
from wherry.converters.passes import __main__ as child
from wherry.converters.passes.table import PASSES
from wherry.converters.passes.terms import Pass
from wherry.protocol.types import Struct

LOG = "carried-out"

Say = Callable[[int, int], None]


class How(Struct, frozen=True, kw_only=True):
    what: str = ""
    times: int = 1
    fd: int = 0


class Count(Struct, frozen=True, kw_only=True):
    bytes: int = 0


COPY = Pass("copy", "tests.support.odd_passes:copy", How, Count)
COPY_AGAIN = Pass("copy", "tests.support.odd_passes:copy", How, Count, edition=2)
ODD = Pass("odd", "tests.support.odd_passes:odd", How, Count)


def copy(files: dict[str, Path], options: How, out: Path, _say: Say) -> Count:
    with (out.parent / LOG).open("a") as log:
        log.write("once\n")
    content = files["source"].read_bytes() * options.times
    (out / "copy").write_bytes(content)
    return Count(bytes=len(content))


def odd(_files: dict[str, Path], options: How, _out: Path, say: Say) -> Count:
    WAYS[options.what](say)
    return Count()


def _refuse(_say: Say) -> None:
    raise BadRequest("not so", "otherwise")


def _fail(error: Exception) -> Callable[[Say], None]:
    def fail(_say: Say) -> None:
        raise error

    return fail


def _count(say: Say) -> None:
    for done in (1, 2, 3):
        say(done, 3)


def _tell_pid(say: Say) -> None:
    say(os.getpid(), 0)
    threading.Event().wait()


WAYS: dict[str, Callable[[Say], None]] = {
    "refuse": _refuse,
    "bug": _fail(KeyError("lost")),
    "memory": _fail(MemoryError()),
    "disk": _fail(OSError(28, "No space left on device")),
    "kill": lambda _say: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda _say: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda _say: os._exit(3),
    "hang": lambda _say: threading.Event().wait() and None,
    "eat": lambda _say: bytearray(1 << 32) and None,
    "count": _count,
    "tell-pid": _tell_pid,
}


if __name__ == "__main__":
    PASSES["copy"] = COPY
    PASSES["odd"] = ODD
    child.main()
