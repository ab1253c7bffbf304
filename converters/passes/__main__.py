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
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from wherry.converters.errors import ConversionError, Exhausted
from wherry.converters.passes.table import PASSES
from wherry.converters.passes.terms import Done, Fault, Line, Task, Told

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OUT_OF_MEMORY = ("ResourceExhaustedError", "MemoryError", "bad_alloc")


def main() -> None:
    parser = argparse.ArgumentParser(prog="wherry.converters.passes", description="Started by a conversion.")
    parser.add_argument("--memory-bytes", type=int, default=0, help="address space that it may have; 0 for all")
    memory_bytes = parser.parse_args().memory_bytes
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # looking for a GPU takes longer than converting
    lines = _take_stdout()
    for raw in sys.stdin.buffer:
        _answer(raw, lines)


def _answer(raw: bytes, lines: BinaryIO) -> None:
    def say(line: Line) -> None:
        lines.write(msgspec.json.encode(line) + b"\n")
        lines.flush()

    try:
        say(_carry_out(msgspec.json.decode(raw, type=Task), lambda done, total: say(Told(done=done, total=total))))
    except ConversionError as error:
        say(Fault(kind=type(error).__name__, message=error.message, fix=error.fix))
    except Exception as error:  # noqa: BLE001  the boundary of the process: a bug is told as such
        traceback.print_exc()
        name = type(error).__name__
        if name in _OUT_OF_MEMORY or any(word in str(error) for word in _OUT_OF_MEMORY):
            say(Fault(kind=Exhausted.__name__, message="the model needs more memory than there is"))
        else:
            say(Fault(kind=name, message=str(error)[:2000]))


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
