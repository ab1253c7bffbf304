"""A worker process as the supervisor sees it: orders in, events out, and no way to be hurt by it.

Rules upheld here:
- One thread a worker starts the process, reads it and reaps it. The kernel ties the worker's life to
  the thread that started it, so that thread must live as long as the worker: no other is suited.
- Every worker ends with exactly one `WorkerEnded`, also one that could not be started.
- What a worker says is decoded here; one that says anything else is killed.
- A worker that is not known to serve gives way to others until it is told to (`priority.py`).
- Nothing here imports numpy or a runtime.
"""

import contextlib
import itertools
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from typing import IO

import msgspec

from wherry.agent.adapters import priority
from wherry.agent.adapters.last_words import LastWords
from wherry.agent.adapters.talk import Talk, TalksWithoutEnd
from wherry.agent.worker.channel import Frames, decode_answer, encode
from wherry.agent.worker.errors import ChannelBroken
from wherry.agent.worker.messages import AnyAnswer, AnyOrder, Serve
from wherry.protocol.types import clip_reason

GRACE_S = 2.0
"""How long a worker whose channel is closed may take to leave before it is killed."""

MAX_ANSWERS_PER_S = 500
"""A worker answers orders and says a window a second; one that says far more is not to be trusted, and is killed."""

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

_numbers = itertools.count(1)


class WorkerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a worker did, by the worker's own id."""

    worker_id: str


class WorkerSaid(WorkerEvent, frozen=True, kw_only=True):
    answer: AnyAnswer


class WorkerEnded(WorkerEvent, frozen=True, kw_only=True):
    """`exit_code` below zero is the signal that killed it; 127 says that it could not be started.

    `detail` is for a person: how it ended, and its last words on standard error.
    """

    exit_code: int
    detail: str


OnEvent = Callable[[WorkerSaid | WorkerEnded], None]


class WorkerProcess:
    """Use `start`. Safe to use from any thread, except that `close` must not be called in `on_event`."""

    def __init__(self, worker_id: str, role: str, on_event: OnEvent, pair: tuple[socket.socket, socket.socket]) -> None:
        self.worker_id = worker_id
        self._gives_way = role != "serving"
        self._on_event = on_event
        self._ours, self._theirs = pair
        self._talk = Talk(MAX_ANSWERS_PER_S)
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._accusation = ""
        self._frames = Frames()
        self._last_words = LastWords()
        self._thread = threading.Thread(target=self._live, name=f"worker {self.worker_id}", daemon=True)

    @classmethod
    def start(cls, slot: str, role: str, on_event: OnEvent) -> "WorkerProcess | NotStarted":
        """Start a worker without a model. `on_event` is called by one thread, `WorkerEnded` last and once.

        Never raises for what the system refuses: that worker has ended, and says so.
        """
        worker_id = f"{slot}-{role}-{next(_numbers)}"
        try:
            pair = socket.socketpair()
        except OSError as error:
            return NotStarted(worker_id, on_event, str(error))
        worker = cls(worker_id, role, on_event, pair)
        try:
            worker._thread.start()
        except RuntimeError as error:
            for end in pair:
                end.close()
            return NotStarted(worker_id, on_event, str(error))
        worker._started.wait()
        return worker

    @property
    def pid(self) -> int:
        """The process id, of a worker that could not be started 0."""
        return self._process.pid if self._process else 0

    def send(self, order: AnyOrder, files: Sequence[int] = ()) -> None:
        """Give an order and its open files, which may be closed afterwards. Never waits, nor raises on a dead worker.

        A worker that has left so many orders unread that this one has no room is stuck: it is killed.
        """
        assert len(files) == order.files, "the receiver waits for so many"
        if self._gives_way and isinstance(order, Serve) and self._process and self._process.returncode is None:
            priority.raise_again(self._process.pid)
        data = encode(order)
        with self._lock:
            try:
                sent = self._ours.sendmsg([data], _beside(files), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                return
        if sent < len(data):
            self._accuse("killed because it does not read its orders")

    def kill(self) -> None:
        """End it at once. `WorkerEnded` follows. Harmless on a dead worker."""
        if self._process:
            self._process.kill()

    def close(self, grace_s: float = GRACE_S) -> None:
        """Close the channel, wait `grace_s` for the worker to leave, then kill it. It is reaped on return."""
        with contextlib.suppress(OSError):  # it is gone already
            self._ours.shutdown(socket.SHUT_WR)
        if self._thread.ident is None:
            return
        self._thread.join(grace_s)
        if self._thread.is_alive():
            self.kill()
            self._thread.join()

    def _accuse(self, accusation: str) -> None:
        self._accusation = accusation
        self.kill()

    def _live(self) -> None:
        """Whatever happens, without memory or threads too: the process is gone at the end, and that is said."""
        try:
            process = self._process = self._spawn()
            assert process.stderr is not None
        except Exception as error:  # noqa: BLE001
            self._ours.close()
            self._end(127, f"could not be started: {described(error)}")
            return
        finally:
            self._theirs.close()
            self._started.set()
        try:
            if self._gives_way:
                priority.lower(process.pid)
            self._read(process)
        except Exception as error:  # noqa: BLE001
            self._accuse(f"killed because it cannot be heard: {described(error)}")
        try:
            exit_code = self._reap(process)
        except Exception as error:  # noqa: BLE001
            self._accuse(f"killed because it cannot be waited for: {described(error)}")
            exit_code = process.wait()
        finally:
            self._ours.close()
            process.stderr.close()
        self._end(exit_code, self._describe(exit_code))

    def _spawn(self) -> subprocess.Popen[bytes]:
        fd = self._theirs.fileno()
        return subprocess.Popen(
            command(fd),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(fd,),
            process_group=0,  # Ctrl-C in a terminal is for the supervisor alone
        )

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Read both streams until the channel ends, by the worker's death or by what it says."""
        assert process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._ours, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if process.stderr in ready and not self._listen(process.stderr):
                    selector.unregister(process.stderr)
                if self._ours in ready and not self._receive():
                    return

    def _listen(self, stderr: IO[bytes]) -> bool:
        data = os.read(stderr.fileno(), _READ_BYTES)
        self._last_words.add(data)
        return bool(data)

    def _receive(self) -> bool:
        """Pass on what has arrived; False once nothing more will be read."""
        try:
            data = self._ours.recv(_READ_BYTES)
        except ConnectionResetError:
            return False
        try:
            for body in self._frames.feed(data):
                answer = decode_answer(body)
                self._talk.word()
                self._on_event(WorkerSaid(worker_id=self.worker_id, answer=answer))
        except (ChannelBroken, TalksWithoutEnd) as error:
            self._accuse(f"killed because of what it said: {error}")
            return False
        return bool(data)

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end of a worker that has left the channel, and make sure of it."""
        with self._lock:
            self._ours.close()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._accuse("killed because it left the channel but did not end")
            process.wait()
        assert process.stderr is not None
        with process.stderr as stderr:
            os.set_blocking(stderr.fileno(), False)  # a stray child of the worker may hold the other end
            with contextlib.suppress(BlockingIOError):
                self._listen(stderr)
        return process.returncode

    def _describe(self, exit_code: int) -> str:
        told = self._accusation or describe_exit(exit_code)
        return f"{told}: {self._last_words.line}" if self._last_words.line else told

    def _end(self, exit_code: int, detail: str) -> None:
        self._on_event(WorkerEnded(worker_id=self.worker_id, exit_code=exit_code, detail=clip_reason(detail)))


class NotStarted:
    """A worker that the system had no room for: it has ended, and says so at once."""

    pid = 0

    def __init__(self, worker_id: str, on_event: OnEvent, problem: str) -> None:
        self.worker_id = worker_id
        detail = clip_reason(f"could not be started: {problem}")
        on_event(WorkerEnded(worker_id=worker_id, exit_code=127, detail=detail))

    def send(self, order: AnyOrder, files: Sequence[int] = ()) -> None:
        """Nobody hears it."""

    def kill(self) -> None:
        """It has ended."""

    def close(self, grace_s: float = GRACE_S) -> None:
        """There is nothing to close."""


def _beside(files: Sequence[int]) -> list[tuple[int, int, "array[int]"]]:
    """Open files as ancillary data. `socket.send_fds` of Python 3.11 loses its flags, and would wait."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))] if files else []


def command(fd: int) -> list[str]:
    """How a worker is started; -P, so that no file of the working directory stands in for a package."""
    return [sys.executable, "-P", "-m", "wherry.agent.worker", "--fd", str(fd)]


def environment() -> dict[str, str]:
    """What a worker sees of the supervisor's environment: enough to start, and no secrets."""
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
