"""Where passes are carried out: child processes with limits, whose results are kept by content.

Rules upheld here:
- A pass runs in a child. One that crashes, hangs or eats the memory ends as a ConversionError with the reason.
- A result is found again by the digests of its files, its options, and the versions of the tools. What is found
  is held against its own digests first: a torn or altered entry is worked out anew.
- No child outlives the workshop, whatever ends that.
"""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import msgspec

import wherry
from wherry.converters import errors
from wherry.converters.cache import Cache, content_digest
from wherry.converters.errors import ConversionError, Exhausted, ToolFailed
from wherry.converters.passes.terms import Done, Fault, Line, Options, Pass, Result, Task, Told
from wherry.protocol import blob
from wherry.protocol.types import Struct

Say = Callable[[int, int], None]
R = TypeVar("R", bound=Struct)

_LINE: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
PROGRAM = [sys.executable, "-m", "wherry.converters.passes"]


class PassBug(Exception):
    """A pass failed through no fault of the user; its traceback is on standard error."""


@dataclass(frozen=True)
class Made(Generic[R]):
    """What a pass gave: `result`, and the files in `directory`, which are not to be changed."""

    directory: Path
    result: R
    cached: bool

    def file(self, name: str) -> Path:
        return self.directory / name


class Workshop:
    """Carries out passes one after another in one child. `scratch` must outlive what is made."""

    def __init__(self, scratch: Path, cache: Cache, *, memory_bytes: int, timeout_s: float) -> None:
        self._scratch = scratch
        self._cache = cache
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._closed = False
        self.cached: list[str] = []

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Have a child, which other threads may then work with. It is killed when the thread that starts it ends."""
        self._alive()

    def close(self) -> None:
        """End the child for good; a pass that another thread asks for afterwards fails."""
        self._closed = True
        self._end_child()

    def _end_child(self) -> None:
        child, self._child, self._pending = self._child, None, b""
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):  # it died before it took its last task
                    pipe.close()

    def run(
        self,
        work: Pass[Options, Result],
        files: dict[str, Path],
        options: Options,
        *,
        say: Say = lambda _done, _total: None,
        keep: bool = True,
    ) -> Made[Result]:
        """Carry out `work`, or find what it gave before. `keep=False` where files do not tell all.

        Raises ConversionError, and PassBug where the fault is ours.
        """
        encoded = msgspec.json.encode(options, order="sorted")
        key = _key(work, files, encoded) if keep else None
        found = self._cache.find(key) if key is not None else None
        if found is not None:
            self.cached.append(work.name)
            return Made(found, msgspec.json.decode((found / RESULT).read_bytes(), type=work.result), cached=True)
        out = Path(tempfile.mkdtemp(prefix=f"{work.name}-", dir=self._scratch))
        done = self._ask(Task(name=work.name, files=_absolute(files), options=msgspec.Raw(encoded), out=str(out)), say)
        (out / RESULT).write_bytes(done.result)
        kept = self._cache.keep(key, out) if key is not None else out
        return Made(kept, msgspec.json.decode(done.result, type=work.result), cached=False)

    def _ask(self, task: Task, say: Say) -> Done:
        child = self._alive()
        assert child.stdin is not None
        try:
            child.stdin.write(msgspec.json.encode(task) + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            raise self._died(task) from None
        deadline = time.monotonic() + self._timeout_s
        while True:
            line = self._read(task, deadline)
            if isinstance(line, Told):
                say(line.done, line.total)
            elif isinstance(line, Fault):
                raise _fault(line)
            else:
                return line

    def _read(self, task: Task, deadline: float) -> Line:
        child = self._child
        assert child is not None
        assert child.stdout is not None
        while b"\n" not in self._pending:
            if not select.select([child.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                self._end_child()
                raise Exhausted(
                    f"the step {task.name!r} took longer than {self._timeout_s:g} s",
                    "raise limits.timeout_s in the recipe",
                )
            read = os.read(child.stdout.fileno(), 64 * 1024)
            if not read:
                raise self._died(task)
            self._pending += read
        raw, _, self._pending = self._pending.partition(b"\n")
        return _LINE.decode(raw)

    def _alive(self) -> "subprocess.Popen[bytes]":
        if self._closed:
            raise RuntimeError("the workshop is closed")
        if self._child is None:
            command = [*PROGRAM, "--memory-bytes", str(self._memory_bytes), "--import-from", str(Path.cwd())]
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=self._scratch
            )
        return self._child

    def _died(self, task: Task) -> ConversionError:
        child = self._child
        assert child is not None
        status = child.wait()
        self._end_child()
        if status == -signal.SIGKILL or (self._memory_bytes and status in (-signal.SIGABRT, -signal.SIGSEGV)):
            return Exhausted(
                f"the process of the step {task.name!r} was killed, most likely because memory ran out",
                "close other programs, use a machine with more memory, or raise limits.memory_mb in the recipe",
            )
        how = f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return ToolFailed(
            f"the process of the step {task.name!r} {how}",
            "the model brings down the converter; simplify it, and see the log for the last words",
        )


RESULT = "result.json"


def _key(work: Pass[Options, Result], files: dict[str, Path], options: bytes) -> str:
    told = {
        "pass": work.name,
        "edition": work.edition,
        "tools": {name: installed(name) for name in ("wherry", "numpy", *work.tools)},
        "files": {name: content_digest(path) for name, path in files.items()},
    }
    return blob.sha256(msgspec.json.encode(told, order="sorted") + b"\n" + options)


def installed(package: str) -> str:
    """Its version; empty where it is not there."""
    if package == "wherry":
        return wherry.__version__
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _absolute(files: dict[str, Path]) -> dict[str, str]:
    return {name: str(path.absolute()) for name, path in files.items()}


def _fault(line: Fault) -> Exception:
    kind = getattr(errors, line.kind, None)
    if isinstance(kind, type) and issubclass(kind, ConversionError):
        error: ConversionError = kind(line.message, line.fix)
        return error
    return PassBug(f"{line.kind}: {line.message}")
