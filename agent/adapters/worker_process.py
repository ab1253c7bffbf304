"""A worker process as the supervisor sees it: orders in, events out, and no way to be hurt by it.

Rules upheld here, beside those of `child_process`:
- What a worker says is decoded here; one that says anything else is killed.
- A worker that is not known to serve gives way to others until it is told to (`priority.py`).
- Nothing here imports numpy or a runtime.
"""

import contextlib
import itertools
import socket
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence

import msgspec

from wherry.agent.adapters import priority
from wherry.agent.adapters.child_process import ChildProcess, NotUnderstood
from wherry.agent.worker.channel import Frames, decode_answer, encode
from wherry.agent.worker.errors import ChannelBroken
from wherry.agent.worker.messages import AnyAnswer, AnyOrder, Serve

GRACE_S = 2.0
"""How long a worker whose channel is closed may take to leave before it is killed."""

MAX_ANSWERS_PER_S = 500
"""A worker answers orders and says a window a second; one that says far more is not to be trusted, and is killed."""

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


class WorkerProcess(ChildProcess[WorkerSaid | WorkerEnded]):
    """Use `start`. Safe to use from any thread, except that `close` must not be called in `on_event`."""

    def __init__(self, worker_id: str, role: str, on_event: OnEvent) -> None:
        super().__init__(f"worker {worker_id}", on_event, words_per_s=MAX_ANSWERS_PER_S, grace_s=GRACE_S)
        self.worker_id = worker_id
        self._gives_way = role != "serving"
        self._frames = Frames()

    @classmethod
    def start(cls, slot: str, role: str, on_event: OnEvent) -> "WorkerProcess":
        """Start a worker without a model. `on_event` is called by one thread, `WorkerEnded` last and once.

        Never raises for what the system refuses: that worker has ended, and says so.
        """
        worker = cls(f"{slot}-{role}-{next(_numbers)}", role, on_event)
        worker._launch()
        return worker

    def send(self, order: AnyOrder, files: Sequence[int] = ()) -> None:
        """Give an order and its open files, which may be closed afterwards. Never waits, nor raises on a dead worker.

        A worker that has left so many orders unread that this one has no room is stuck: it is killed.
        """
        assert len(files) == order.files, "the receiver waits for so many"
        if self._ours is None:
            return
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
        self._kill()

    def close(self, grace_s: float = GRACE_S) -> None:
        """Close the channel, wait `grace_s` for the worker to leave, then kill it. It is reaped on return."""
        if self._ours is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._ours.shutdown(socket.SHUT_WR)
        self._part(grace_s, "killed because it did not leave")

    def _command(self, fd: int) -> list[str]:
        return command(fd)

    def _welcome(self) -> None:
        if self._gives_way:
            priority.lower(self.pid)

    def _events(self, data: bytes) -> Iterator[WorkerSaid]:
        try:
            for body in self._frames.feed(data):
                yield WorkerSaid(worker_id=self.worker_id, answer=decode_answer(body))
        except ChannelBroken as error:
            raise NotUnderstood(str(error)) from error

    def _ended(self, exit_code: int, detail: str) -> WorkerEnded:
        return WorkerEnded(worker_id=self.worker_id, exit_code=exit_code, detail=detail)


def _beside(files: Sequence[int]) -> list[tuple[int, int, "array[int]"]]:
    """Open files as ancillary data. `socket.send_fds` of Python 3.11 loses its flags, and would wait."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))] if files else []


def command(fd: int) -> list[str]:
    """How a worker is started; -P, so that no file of the working directory stands in for a package."""
    return [sys.executable, "-P", "-m", "wherry.agent.worker", "--fd", str(fd)]
