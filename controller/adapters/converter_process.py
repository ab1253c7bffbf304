"""A conversion as the controller's child process: request in, lines and chatter out, ended for certain.

Rules upheld here:
- It never outlives the controller for long: see `tether`. What is left of one is found by a mark in its
  environment, which all that it starts inherits, and killed before the next controller runs anything.
- It has a session of its own, so that signals of the terminal are the controller's to deal with.
- It is asked to end before it is killed; nothing that it started is left when `stop` returns.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec

from wherry.controller.adapters import tether
from wherry.protocol import limits
from wherry.protocol.conversion import ConversionLine, ConversionRequest, Failed

PROGRAM = (sys.executable, "-m", "wherry.converters")
STOP_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 5.0
"""One that waits for a broken disk cannot be killed."""

POLL_S = 0.01
MAX_LINE_BYTES = 64 * limits.KIB * limits.KIB
"""The last line carries the whole report."""

CHATTER_BYTES = 64 * limits.KIB
MARK = "WHERRY_CONVERSION"
"""The variable that holds the working directory."""

_line: msgspec.json.Decoder[ConversionLine] = msgspec.json.Decoder(ConversionLine)


class ConverterProcess:
    """One child; made by `start`."""

    def __init__(self, child: asyncio.subprocess.Process, work_dir: Path) -> None:
        self._child = child
        self._work_dir = work_dir

    @classmethod
    async def start(cls, program: Sequence[str], work_dir: Path, request: ConversionRequest) -> "ConverterProcess":
        """Run `program` in `work_dir` and give it the request. Raises OSError."""
        child = await asyncio.create_subprocess_exec(
            *[sys.executable, "-S", "-E", tether.__file__, str(os.getpid()), "", *program],
            cwd=work_dir,
            env=os.environ | {MARK: str(work_dir), "TMPDIR": str(work_dir / "tmp")},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=MAX_LINE_BYTES,
        )
        process = cls(child, work_dir)
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(request))
        with contextlib.suppress(ConnectionError):  # one that is dead already is noticed when its lines end
            await child.stdin.drain()
        child.stdin.close()
        return process

    async def lines(self) -> AsyncIterator[ConversionLine]:
        """What it says, until it closes its standard output. Raises ValueError for what is no line of ours."""
        assert self._child.stdout is not None
        while raw := await self._child.stdout.readline():
            try:
                yield _line.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"not a line of the protocol: {raw[:200]!r}") from error

    async def chatter(self) -> AsyncIterator[bytes]:
        """Its standard error as it comes."""
        assert self._child.stderr is not None
        while data := await self._child.stderr.read(CHATTER_BYTES):
            yield data

    async def stop(self) -> int:
        """End it, if it has not ended, with all that it started; its exit status, negative for a signal."""
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.terminate()
        return await self.wait(STOP_TIMEOUT_S)

    async def wait(self, timeout_s: float) -> int:
        """Give it so long to end by itself, then kill it; nothing that it started is left either way.

        It has ended for asyncio only when nobody holds its pipes any more, what it started included.
        """
        try:
            return await asyncio.wait_for(self._child.wait(), timeout_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await asyncio.to_thread(kill_marked, self._work_dir)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), KILL_TIMEOUT_S)
            return -signal.SIGKILL if self._child.returncode is None else self._child.returncode
        finally:
            await asyncio.to_thread(kill_marked, self._work_dir)


def explain(status: int) -> Failed:
    """Why a child failed that ended without a last word."""
    if status == -signal.SIGKILL:
        message = "the conversion process was killed (SIGKILL); most often memory has run out"
        return Failed(kind="Killed", message=message, fix="see the log, and give the controller's machine more memory")
    if status < 0:
        name = signal.Signals(-status).name
        message = f"the conversion process died of {name}"
        return Failed(kind="Died", message=message, fix="the log of the conversion has its last words", ours=True)
    message = f"the conversion process ended with status {status} and said nothing"
    return Failed(kind="Died", message=message, fix="the log of the conversion has its last words", ours=True)


def kill_marked(directory: Path) -> None:
    """Kill every process that works for a conversion in `directory`, or below it; return when none is left."""
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while (marked := list(_marked(directory))) and time.monotonic() < deadline_s:
        for pid in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _marked(directory: Path) -> Iterator[int]:
    """The mark is the whole directory, or goes on with a slash: `work-1` is not `work-12`."""
    mark = os.fsencode(f"{MARK}={directory}")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is of somebody else
            continue
        if any(text == mark or text.startswith(mark + b"/") for text in variables):
            yield int(entry.name)
