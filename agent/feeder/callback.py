"""Results on the standard input of a process, a line each.

Rules upheld here:
- The feed never waits for the process: a thread writes to it, and lines wait in between, `WAITING` at most; the
  oldest are dropped first.
- A process that ends is started again after a wait with full jitter. The line on which it was found to have ended is
  written again, so a line may be seen twice by a process that ends while it reads.
- At the end its standard input is closed; it is given `LEAVE_S` to end by itself.
"""

import contextlib
import random
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence

from wherry.agent.adapters.child_process import describe_exit
from wherry.agent.core.backoff import delay_s

WAITING = 256
WAITING_BYTES = 1024 * 1024
LEAVE_S = 1.0
RETRY_BASE_S = 0.5
RETRY_LIMIT_S = 30.0
STABLE_S = 10.0
"""A process that lived so long had started well."""


class Callback:
    """See `results.Sink`. `started` counts the processes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = [*command]
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._bytes = self._dropped = 0
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._since_s = 0.0
        self.trouble = ""
        self.started = 0
        self._thread = threading.Thread(target=self._run, name="callback", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def put(self, line: bytes) -> bool:
        with self._changed:
            self._lines.append(line + b"\n")
            self._bytes += len(line) + 1
            while len(self._lines) > WAITING or self._bytes > WAITING_BYTES:
                self._bytes -= len(self._lines.popleft())
                self._dropped += 1
            self._changed.notify_all()
        return True

    def take_dropped(self) -> int:
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def close(self) -> None:
        """Let it have what waits, if it takes it in time, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(LEAVE_S)
        if (process := self._process) is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE_S)
            process.kill()
            process.wait()

    def _run(self) -> None:
        while (line := self._next()) is not None:
            while not self._write(line) and not self._closing:
                pass
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _next(self) -> bytes | None:
        """The line whose turn it is; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._bytes -= len(line)
            return line

    def _write(self, line: bytes) -> bool:
        """Whether a process took it; where it did not, the next try may be made at once."""
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            process.stdin.write(line)
        except OSError as error:
            self._failed(error)
            return False
        self.trouble = ""
        return True

    def _start(self) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, bufsize=0)
        self._since_s = time.monotonic()
        self.started += 1
        return self._process

    def _failed(self, error: OSError) -> None:
        """Say how it ended, and wait before it is started again."""
        how = f"cannot be started: {error.strerror or error}"
        if (process := self._process) is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                how = describe_exit(process.wait(LEAVE_S))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                how = "closed its standard input"
            if time.monotonic() - self._since_s >= STABLE_S:
                self._failures = 0
        self._process = None
        self._failures += 1
        self.trouble = f"results: {self._command[0]}: {how}"
        wait_s = delay_s(self._failures, random.random(), base_s=RETRY_BASE_S, limit_s=RETRY_LIMIT_S)  # noqa: S311  jitter is no secret
        with self._changed:
            self._changed.wait_for(lambda: self._closing, wait_s)
