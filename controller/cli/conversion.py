"""The conversion process as its caller: one request in, progress out, a package or a failure at the end.

Rules upheld here:
- The process never outlives the call: it is ended and waited for, whatever interrupts, and ends with a killed caller.
- What it writes to standard error is TensorFlow's chatter, shown only when the bug is ours.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import IO

import msgspec

from wherry.controller.adapters import tether
from wherry.controller.errors import Invalid
from wherry.protocol.conversion import ConversionLine, ConversionRequest, Converted, Failed, Progress, Warned

PROGRAM = [sys.executable, "-m", "wherry.converters"]
STOP_TIMEOUT_S = 10.0


class ConversionBug(Exception):
    """The conversion process failed by itself; the text is what it said."""


def convert(request: ConversionRequest, on_line: Callable[[Progress | Warned], None]) -> Converted:
    """Run one conversion. Raises Invalid where the user can mend it, ConversionBug where we must."""
    with tempfile.TemporaryFile() as chatter:
        command = [sys.executable, "-S", "-E", tether.__file__, str(os.getpid()), "", *PROGRAM]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=chatter)
        try:
            last = _converse(child, request, on_line)
        finally:
            _end(child)
        if isinstance(last, Converted):
            return last
        if isinstance(last, Failed) and not last.ours:
            report = f"; the report: {last.report_dir}/report.html" if last.report_dir else ""
            raise Invalid(last.message, f"{last.fix}{report}")
        if last is None and child.returncode == -signal.SIGKILL:
            raise Invalid(
                "the conversion was killed, most likely because memory ran out",
                "give less data, close other programs, or use a machine with more memory",
            )
        raise ConversionBug(_last_words(last, child.returncode, chatter))


def _converse(
    child: "subprocess.Popen[bytes]", request: ConversionRequest, on_line: Callable[[Progress | Warned], None]
) -> Converted | Failed | None:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(request))
        child.stdin.close()
    except BrokenPipeError:
        return None
    for raw in child.stdout:
        line: ConversionLine = msgspec.json.decode(raw, type=ConversionLine)
        if not isinstance(line, Progress | Warned):
            return line
        on_line(line)
    return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    """After its last word it ends by itself; one that was interrupted is told to."""
    assert child.stdout is not None
    child.stdout.close()
    interrupted = sys.exc_info()[0] is not None
    if interrupted:
        child.terminate()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _last_words(last: Failed | None, status: int, chatter: IO[bytes]) -> str:
    chatter.seek(0)
    said = chatter.read().decode(errors="replace").strip()
    what = f"{last.kind}: {last.message}" if last is not None else f"it ended with status {status}"
    return f"{said}\n{what}" if said else what
