"""A process on one end of a socket, as the supervisor has workers and feeders: words in, an end, and no way to be hurt.

Rules upheld here:
- One thread a process starts it, reads it and reaps it. The kernel ties the process's life to the thread that started
  it, so that thread must live as long as the process: no other is suited.
- Every process ends with exactly one word of its end, also one that could not be started, and whatever fails here.
- One that says what is not understood, or says it without end, is killed.
- What a process started ends with it: they are one process group, which is killed while its number is still taken.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import IO, Generic, TypeVar

from wherry.agent.adapters.last_words import LastWords
from wherry.agent.adapters.talk import Talk, TalksWithoutEnd
from wherry.protocol.types import clip_reason

NOT_STARTED = 127
"""Exit code of a process that there never was."""

LOOK_FIRST_S, LOOK_LAST_S = 0.0005, 0.05
"""Between two looks whether a process has ended, which most do at once; each wait is twice the last one."""

_READ_BYTES = 64 * 1024

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")
_SET_VARIABLES = {
    # Threads are the runtime's matter; a BLAS with a pool of its own only fights it for the cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "PYTHONUNBUFFERED": "1",
}

_MEANINGS = {
    signal.SIGXCPU: "it used up its processor time before it served",
    signal.SIGSYS: "it made a system call that is forbidden",
}
"""Of signals that a sandbox sends, for whoever does not know them by heart."""

Event = TypeVar("Event")


class NotUnderstood(Exception):
    """What a process said is nothing that it may say; the text is for people."""


class ChildProcess(ABC, Generic[Event]):
    """Safe to use from any thread."""

    def __init__(self, name: str, on_event: Callable[[Event], None], *, words_per_s: int, grace_s: float) -> None:
        self._name, self._on_event, self._grace_s = name, on_event, grace_s
        self._talk = Talk(words_per_s)
        self._last_words = LastWords()
        self._accusation = ""
        self._lock = threading.Lock()
        self._ours: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._is_known = threading.Event()

    @abstractmethod
    def _command(self, fd: int) -> list[str]:
        """How it is started; `fd` is its end of the socket."""

    @abstractmethod
    def _welcome(self) -> None:
        """Called once it runs, by its thread."""

    @abstractmethod
    def _events(self, data: bytes) -> Iterator[Event]:
        """What has been said with these bytes. Raises NotUnderstood."""

    @abstractmethod
    def _ended(self, exit_code: int, detail: str) -> Event:
        """The word of its end."""

    @property
    def pid(self) -> int:
        """The process id, of one that could not be started 0."""
        return self._process.pid if self._process else 0

    def _launch(self) -> None:
        """Start it. Never raises for what the system refuses: it has ended then, and that is said."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._end(NOT_STARTED, f"could not be started: {described(error)}")
            return
        thread = threading.Thread(target=self._live, args=(ours, theirs), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            ours.close()
            theirs.close()
            self._end(NOT_STARTED, f"could not be started: {error}")
            return
        self._thread = thread
        self._is_known.wait()

    def _kill(self) -> None:
        if self._process:
            self._process.kill()

    def _accuse(self, accusation: str) -> None:
        """Kill it for a reason; the first one is told."""
        self._accusation = self._accusation or accusation
        self._kill()

    def _part(self, grace_s: float, accusation: str) -> None:
        """Wait for one that was told to leave, then kill it. It is reaped on return."""
        if self._thread is None:
            return
        self._thread.join(grace_s)
        if self._thread.is_alive():
            self._accuse(accusation)
            self._thread.join()

    def _live(self, ours: socket.socket, theirs: socket.socket) -> None:
        """Whatever happens, without memory or threads too: the process is gone at the end, and that is said."""
        try:
            process = self._process = self._spawn(theirs.fileno())
            self._ours = ours
        except Exception as error:  # noqa: BLE001
            ours.close()
            self._end(NOT_STARTED, f"could not be started: {described(error)}")
            return
        finally:
            theirs.close()
            self._is_known.set()
        exit_code = self._attend(process, ours)
        told = self._accusation or describe_exit(exit_code)
        self._end(exit_code, f"{told}: {self._last_words.line}" if self._last_words.line else told)

    def _attend(self, process: subprocess.Popen[bytes], ours: socket.socket) -> int:
        """Hear it until it leaves, and make sure that it has ended; its exit code."""
        stderr = process.stderr
        assert stderr is not None
        try:
            self._welcome()
            self._read(ours, stderr)
        except Exception as error:  # noqa: BLE001
            self._accuse(f"killed because it cannot be heard: {described(error)}")
        try:
            with self._lock:
                ours.close()
            self._reap(process, stderr)
        except Exception as error:  # noqa: BLE001
            self._accuse(f"killed because it cannot be waited for: {described(error)}")
        finally:
            stderr.close()
        return process.wait()

    def _spawn(self, fd: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(fd),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(fd,),
            process_group=0,  # Ctrl-C in a terminal is for the supervisor alone
        )

    def _read(self, ours: socket.socket, stderr: IO[bytes]) -> None:
        """Read both streams until the socket ends, by the process's death or by what it says."""
        with selectors.DefaultSelector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            selector.register(stderr, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if stderr in ready and not self._listen(stderr):
                    selector.unregister(stderr)
                if ours in ready and not self._receive(ours):
                    return

    def _listen(self, stderr: IO[bytes]) -> bool:
        data = os.read(stderr.fileno(), _READ_BYTES)
        self._last_words.add(data)
        return bool(data)

    def _receive(self, ours: socket.socket) -> bool:
        """Pass on what has arrived; False once nothing more will be read."""
        try:
            data = ours.recv(_READ_BYTES)
        except ConnectionResetError:
            return False
        try:
            for event in self._events(data):
                self._talk.word()
                self._on_event(event)
        except (NotUnderstood, TalksWithoutEnd) as error:
            self._accuse(f"killed because of what it said: {error}")
            return False
        return bool(data)

    def _reap(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        """Wait for the end of a process that has left its socket, and make sure of it and of what it started."""
        if not _has_ended(process.pid, self._grace_s):
            self._accuse("killed because it left the channel but did not end")
            _has_ended(process.pid, None)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.set_blocking(stderr.fileno(), False)  # a stray child may hold the other end
        with contextlib.suppress(BlockingIOError):
            self._listen(stderr)

    def _end(self, exit_code: int, detail: str) -> None:
        self._on_event(self._ended(exit_code, clip_reason(detail)))


def _has_ended(pid: int, limit_s: float | None) -> bool:
    """Wait for a child's end, `limit_s` at most, and leave its number taken. Without a thread, which may be refused."""
    deadline_s, wait_s = None if limit_s is None else time.monotonic() + limit_s, LOOK_FIRST_S
    while deadline_s is None or time.monotonic() < deadline_s:
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (os.WNOHANG if deadline_s else 0))
        except ChildProcessError:
            return True
        if ended is not None:
            return True
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, LOOK_LAST_S)
    return False


def environment() -> dict[str, str]:
    """What a child sees of the supervisor's environment: enough to start, and no secrets."""
    return {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _SET_VARIABLES


def described(error: Exception) -> str:
    """What an error says, with its kind where it is not the system's: some say nothing."""
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}".removesuffix(": ")


def describe_exit(exit_code: int) -> str:
    """`exited with status 1`, or `killed by signal 9 (SIGKILL)` for -9."""
    if exit_code >= 0:
        return f"exited with status {exit_code}"
    try:
        number = signal.Signals(-exit_code)
    except ValueError:
        return f"killed by signal {-exit_code}"
    told = f"killed by signal {-exit_code} ({number.name})"
    return f"{told}: {_MEANINGS[number]}" if number in _MEANINGS else told
