"""The conversion process: one request on standard input, JSON lines on standard output (wiring only).

Exit status 0 after a result, 2 where the user can mend the failure, 1 where the bug is ours.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import msgspec

from wherry.converters.errors import BadRequest, ConversionError, Refused
from wherry.protocol.conversion import ConversionLine, ConversionRequest, Converted, Failed

INTERRUPTED_STATUS = 130


def main() -> int:
    lines = _take_stdout()
    signal.signal(signal.SIGTERM, _interrupt)

    def say(line: ConversionLine) -> None:
        lines.write(msgspec.json.encode(line) + b"\n")
        lines.flush()

    try:
        return _answer(say)
    except (KeyboardInterrupt, BrokenPipeError):
        return INTERRUPTED_STATUS  # nobody wants the answer any more; what was begun is gone


def _answer(say: Callable[[ConversionLine], None]) -> int:
    try:
        request = _request(sys.stdin.buffer.read())
        say(_convert(request, say))
    except ConversionError as error:
        report_dir = error.report_dir if isinstance(error, Refused) else ""
        say(Failed(kind=type(error).__name__, message=error.message, fix=error.fix, report_dir=report_dir))
        return 2
    except MemoryError:
        fix = "give less data, close other programs, or use a machine with more memory"
        say(Failed(kind="Exhausted", message="the data needs more memory than there is", fix=fix))
        return 2
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  the boundary of the process: a bug is told as such
        traceback.print_exc()
        say(Failed(kind=type(error).__name__, message=str(error)[:2000], ours=True))
        return 1
    return 0


def _convert(request: ConversionRequest, say: Callable[[ConversionLine], None]) -> Converted:
    from wherry.converters.pipeline import convert

    report = convert(request, say)
    return Converted(out_dir=request.out_dir, report=msgspec.Raw(msgspec.json.encode(report)))


def _request(data: bytes) -> ConversionRequest:
    try:
        request = msgspec.json.decode(data, type=ConversionRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"not a conversion request: {error}", "send one ConversionRequest as JSON") from error
    named = (request.source, request.calibration, request.evaluation or "/")  # or package.module:callable
    paths = (
        request.out_dir,
        request.weights or "/",
        request.cache_dir or "/",
        *(path for path in named if ":" not in path),
    )
    if not all(Path(path).is_absolute() for path in paths):
        raise BadRequest("the paths of a conversion request must be absolute")
    return request


def _take_stdout() -> BinaryIO:
    """Keep the real standard output for our lines; whatever else writes there goes to standard error."""
    lines = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return lines


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
