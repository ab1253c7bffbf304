"""A feeder process as the supervisor sees it: one job in, pulses out, and no way to be hurt by it.

Rules upheld here:
- One thread a feeder starts the process, reads it and reaps it: the kernel ties the feeder's life to that thread's.
- Every feeder ends with exactly one `FeederEnded`, also one that could not be started.
- What a feeder says is decoded here; one that says anything else is killed.
- What a feeder started ends with it: they are one process group, which is killed while the feeder's own number is
  still taken.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec

from wherry.agent.adapters.last_words import LastWords
from wherry.agent.adapters.talk import Talk, TalksWithoutEnd
from wherry.agent.adapters.worker_process import describe_exit, described, environment
from wherry.agent.feeder.messages import MAX_LINE_BYTES, Job, Pulse
from wherry.protocol.types import clip_reason

GRACE_S = 3.0
"""How long a feeder may take to leave: its callback is given a moment to read what is left."""

MAX_PULSES_PER_S = 100
"""A feeder has something to say a few times a second; one that says far more is killed."""

LOOK_AGAIN_S = 0.02
"""While a feeder that has left its socket ends."""

_READ_BYTES = 64 * 1024


class FeederSaid(msgspec.Struct, frozen=True):
    slot: str
    pulse: Pulse


class FeederEnded(msgspec.Struct, frozen=True):
    """`detail` is for a person: how it ended, and its last words on standard error."""

    slot: str
    detail: str


OnFeeder = Callable[[FeederSaid | FeederEnded], None]


class FeederProcess:
    """Use `start`; safe to use from any thread."""

    def __init__(self, job: Job, on_event: OnFeeder, pair: tuple[socket.socket, socket.socket]) -> None:
        self._job, self._on_event = job, on_event
        self._ours, self._theirs = pair
        self._talk = Talk(MAX_PULSES_PER_S)
        self._started = threading.Event()
        self._lock = threading.Lock()
        self._reaped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._accusation = ""
        self._pending = b""
        self._last_words = LastWords()
        self._thread = threading.Thread(target=self._live, name=f"feeder {job.slot}", daemon=True)

    @classmethod
    def start(cls, job: Job, on_event: OnFeeder) -> "FeederProcess | NotStarted":
        """`on_event` is called by one thread, `FeederEnded` last and once; never raises for what the system refuses."""
        try:
            pair = socket.socketpair()
        except OSError as error:
            return NotStarted(job, on_event, str(error))
        feeder = cls(job, on_event, pair)
        try:
            feeder._thread.start()
        except RuntimeError as error:
            for end in pair:
                end.close()
            return NotStarted(job, on_event, str(error))
        feeder._started.wait()
        return feeder

    @property
    def pid(self) -> int:
        """Of a feeder that could not be started 0."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """Ask it to leave. Harmless on a dead one."""
        self._signal(signal.SIGTERM)

    def kill(self, accusation: str) -> None:
        """End it at once, for a reason that `FeederEnded` gives."""
        self._accusation = self._accusation or accusation
        self._signal(signal.SIGKILL)

    def close(self, grace_s: float = GRACE_S) -> None:
        """Wait `grace_s` for one that was stopped, then kill it. It is reaped on return."""
        if self._thread.ident is None:
            return
        self._thread.join(grace_s)
        if self._thread.is_alive():
            self.kill("killed because it did not leave")
            self._thread.join()

    def _signal(self, number: signal.Signals) -> None:
        """Not by Popen, which may reap on the way: then the number is somebody else's."""
        with self._lock:
            if self._process and not self._reaped:
                os.kill(self._process.pid, number)

    def _live(self) -> None:
        """Whatever happens, without memory or threads too: the process is gone at the end, and that is said."""
        try:
            process = self._process = self._spawn()
            assert process.stderr is not None
        except Exception as error:  # noqa: BLE001
            self._ours.close()
            self._end(f"could not be started: {described(error)}")
            return
        finally:
            self._theirs.close()
            self._started.set()
        try:
            with contextlib.suppress(OSError):  # it has ended already
                self._ours.sendall(msgspec.json.encode(self._job) + b"\n")
            self._read(process)
        except Exception as error:  # noqa: BLE001
            self.kill(f"killed because it cannot be heard: {described(error)}")
        try:
            exit_code = self._reap(process)
        except Exception as error:  # noqa: BLE001
            self.kill(f"killed because it cannot be waited for: {described(error)}")
            exit_code = process.wait()
        finally:
            self._ours.close()
            process.stderr.close()
        told = self._accusation or describe_exit(exit_code)
        self._end(f"{told}: {self._last_words.line}" if self._last_words.line else told)

    def _spawn(self) -> subprocess.Popen[bytes]:
        fd = self._theirs.fileno()
        return subprocess.Popen(
            command(fd),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(fd,),
            process_group=0,
        )

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Read both streams until the feeder leaves its socket."""
        assert process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._ours, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if process.stderr in ready:
                    data = os.read(process.stderr.fileno(), _READ_BYTES)
                    self._last_words.add(data)
                    if not data:
                        selector.unregister(process.stderr)
                if self._ours in ready and not self._receive():
                    return

    def _receive(self) -> bool:
        """Pass on what has arrived; False once nothing more will be read."""
        try:
            data = self._ours.recv(_READ_BYTES)
        except ConnectionResetError:
            return False
        *lines, self._pending = (self._pending + data).split(b"\n")
        try:
            for line in lines:
                self._talk.word()
                self._on_event(FeederSaid(self._job.slot, msgspec.json.decode(line, type=Pulse)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TalksWithoutEnd) as error:
            self.kill(f"killed because of what it said: {error}")
            return False
        if len(self._pending) > MAX_LINE_BYTES:
            self.kill("killed because of what it said: a line without an end")
            return False
        return bool(data)

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end of a feeder that has left its socket, and make sure of it and of what it started."""
        self._ours.close()
        deadline = threading.Timer(GRACE_S, self._signal, [signal.SIGKILL])
        deadline.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        deadline.cancel()
        with self._lock:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._reaped = True
        assert process.stderr is not None
        with process.stderr as stderr:
            os.set_blocking(stderr.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                self._last_words.add(os.read(stderr.fileno(), _READ_BYTES))
        return process.returncode

    def _end(self, detail: str) -> None:
        self._on_event(FeederEnded(self._job.slot, clip_reason(detail)))


class NotStarted:
    """A feeder that the system had no room for: it has ended, and says so at once."""

    pid = 0

    def __init__(self, job: Job, on_event: OnFeeder, problem: str) -> None:
        on_event(FeederEnded(job.slot, clip_reason(f"could not be started: {problem}")))

    def stop(self) -> None:
        """It has ended."""

    def kill(self, accusation: str) -> None:
        """It has ended."""

    def close(self, grace_s: float = GRACE_S) -> None:
        """There is nothing to close."""


def _has_ended(pid: int, limit_s: float | None) -> bool:
    """Wait for a child's end, `limit_s` at most, and leave its number taken. Without a thread, which may be refused."""
    deadline_s = None if limit_s is None else time.monotonic() + limit_s
    while deadline_s is None or time.monotonic() < deadline_s:
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (os.WNOHANG if deadline_s else 0))
        except ChildProcessError:
            return True
        if ended is not None:
            return True
        time.sleep(LOOK_AGAIN_S)
    return False


def command(fd: int) -> list[str]:
    """How a feeder is started; -P, so that no file of the working directory stands in for a package."""
    return [sys.executable, "-P", "-m", "wherry.agent.feeder", "--fd", str(fd)]
