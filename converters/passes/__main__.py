"""The child process of a conversion: takes tasks on standard input until that is closed (wiring only).

One process takes many tasks, because importing TensorFlow takes longer than most of them. It is killed
with its parent, whatever ends that, and never sees the terminal's Ctrl-C.
"""

import argparse
import ctypes
import importlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from wherry.converters.errors import ConversionError, Exhausted, OutputError
from wherry.converters.passes.spare import spare_imports
from wherry.converters.passes.table import PASSES
from wherry.converters.passes.terms import Done, Fault, Line, Task, Told

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OUT_OF_DISK = ("No space left on device", "Disk quota exceeded")
_OUT_OF_MEMORY = (
    "ResourceExhaustedError",
    "MemoryError",
    "bad_alloc",
    "Cannot allocate memory",
    "failed to map segment",
)
"""What the kernel, Python, C++, TensorFlow and the loader of libraries call it."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="wherry.converters.passes", description="Started by a conversion.")
    parser.add_argument("--memory-bytes", type=int, default=0, help="address space that it may have; 0 for all")
    parser.add_argument("--import-from", default="", help="directory in which modules that the user names may lie")
    options = parser.parse_args()
    memory_bytes = options.memory_bytes
    if options.import_from:
        sys.path.append(options.import_from)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # looking for a GPU takes longer than converting
    spare_imports()
    lines = _take_stdout()
    for raw in sys.stdin.buffer:
        _answer(raw, lines)


def _answer(raw: bytes, lines: BinaryIO) -> None:
    def say(line: Line) -> None:
        lines.write(msgspec.json.encode(line) + b"\n")
        lines.flush()

    try:
        say(_carry_out(msgspec.json.decode(raw, type=Task), lambda done, total: say(Told(done=done, total=total))))
    except Exception as error:  # noqa: BLE001  the boundary of the process: a bug is told as such
        if not isinstance(error, ConversionError):
            traceback.print_exc()
        say(_fault(error))


def _fault(error: Exception) -> Fault:
    """A full disk or memory is the user's to mend, whatever was made of it; what is not ours to refuse is a bug."""
    said = " ".join(f"{type(cause).__name__}: {cause}" for cause in _causes(error))
    if any(word in said for word in _OUT_OF_DISK):
        return Fault(kind=OutputError.__name__, message="no space left on the device", fix="free some space")
    if any(word in said for word in _OUT_OF_MEMORY):
        fix = "close other programs, use a machine with more memory, or raise limits.memory_mb in the recipe"
        return Fault(kind=Exhausted.__name__, message="the conversion needs more memory than it may have", fix=fix)
    if isinstance(error, ConversionError):
        return Fault(kind=type(error).__name__, message=error.message, fix=error.fix)
    return Fault(kind=type(error).__name__, message=str(error)[:2000])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _carry_out(task: Task, say: Callable[[int, int], None]) -> Done:
    work = PASSES[task.name]
    module, function = work.where.split(":")
    call: Callable[..., Any] = getattr(importlib.import_module(module), function)
    options = msgspec.json.decode(task.options, type=work.options)
    files = {name: Path(path) for name, path in task.files.items()}
    result = call(files, options, Path(task.out), say)
    return Done(result=msgspec.Raw(msgspec.json.encode(result)))


def _take_stdout() -> BinaryIO:
    """Keep the real standard output for our lines; whatever else writes there goes to standard error."""
    lines = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return lines


if __name__ == "__main__":
    main()
