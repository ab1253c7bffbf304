"""A worker behind the interface of `WorkerProcess`, whose behaviour a test decides by artifact.

It runs in no process and answers at once; windows come when the test says `tick`.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from wherry.agent.adapters.worker_process import WorkerEnded, WorkerSaid
from wherry.agent.services import OnWorker
from wherry.agent.worker.messages import (
    AnyAnswer,
    AnyOrder,
    Load,
    Loaded,
    Refused,
    SelfTest,
    SelfTested,
    Serve,
    Serving,
    Stop,
    Stopped,
    Window,
)
from wherry.protocol.blob import sha256
from wherry.protocol.latency import LatencySketch, LatencyWindow

PASSED = "1 golden vectors on litert within tolerance; p50 1 ms, p95 1 ms"


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker behaves with one artifact. `dies_at` names the order at which it is killed.

    Of 100 inputs of the incumbent it gives the same class to `agreed`.
    """

    latency_ms: float = 1.0
    inferences: int = 100
    errors: int = 0
    rss_bytes: int = 50_000_000
    refuses: str = ""
    fails_test: str = ""
    dies_at: str = ""
    silent_at: str = ""
    agreed: int = 100


class FakeWorker:
    def __init__(self, yard: "Yard", worker_id: str, slot: str, role: str, on_event: OnWorker) -> None:
        self._yard, self.worker_id, self.slot, self.role, self._on_event = yard, worker_id, slot, role, on_event
        self.pid = 1
        self.artifact = ""
        self.serving = self.ended = False
        self.orders: list[AnyOrder] = []

    @property
    def conduct(self) -> Conduct:
        return self._yard.conduct.get(self.artifact, Conduct())

    def send(self, order: AnyOrder, files: Sequence[int] = ()) -> None:
        assert len(files) == order.files
        if self.ended:
            return
        self.orders.append(order)
        if isinstance(order, Load):
            self.artifact = sha256(Path(f"/proc/self/fd/{files[0]}").read_bytes())
        tag = str(order.__struct_config__.tag)
        if self.conduct.dies_at == tag:
            self.die(-11, "killed by signal 11 (SIGSEGV)")
        elif self.conduct.silent_at != tag:
            self._obey(order)

    def _obey(self, order: AnyOrder) -> None:
        match order:
            case Load() if self.conduct.refuses:
                self._say(Refused(reason=self.conduct.refuses))
                self.die(1, "exit status 1")
            case Load():
                self._say(Loaded(runtime_version="2.14.0"))
            case SelfTest():
                reason = self.conduct.fails_test
                compared = 100 if order.samples and not reason else 0
                agreed = self.conduct.agreed if compared else 0
                self._say(SelfTested(ok=not reason, reason=reason or PASSED, compared=compared, agreed=agreed))
            case Serve():
                self.serve_at_last()
            case Stop():
                self.serving = False
                self._say(Stopped())
                self.die(0, "exit status 0")

    def serve_at_last(self) -> None:
        """Answer an order to serve that it was silent about."""
        self.serving = True
        self._say(Serving())

    def window(self) -> None:
        """Say what happened in one second."""
        self._say(
            Window(
                window_s=1.0,
                inferences=self.conduct.inferences,
                errors=self.conduct.errors,
                latency=_sketch(self.conduct.latency_ms, self.conduct.inferences),
                rss_bytes=self.conduct.rss_bytes,
            )
        )

    def die(self, exit_code: int, detail: str) -> None:
        if not self.ended:
            self.ended, self.serving = True, False
            self._on_event(WorkerEnded(worker_id=self.worker_id, exit_code=exit_code, detail=detail))

    def kill(self) -> None:
        self.die(-9, "killed by signal 9 (SIGKILL)")

    def close(self) -> None:
        assert self.ended, "only a worker that has ended is closed"

    def _say(self, answer: AnyAnswer) -> None:
        self._on_event(WorkerSaid(worker_id=self.worker_id, answer=answer))


@cache
def _sketch(latency_ms: float, inferences: int) -> LatencySketch:
    """So many answers that took as long; most windows of a test are like the one before."""
    window = LatencyWindow()
    for _ in range(inferences):
        window.add(latency_ms)
    return window.sketch()


class Yard:
    """Starts fake workers and remembers them; `conduct` says how they behave, by the artifact's digest.

    While `is_full` the system has no room for another process.
    """

    def __init__(self) -> None:
        self.conduct: dict[str, Conduct] = {}
        self.workers: list[FakeWorker] = []
        self.is_full = False
        self._numbers = itertools.count(1)

    def start(self, slot: str, role: str, on_event: Callable[[WorkerSaid | WorkerEnded], None]) -> FakeWorker:
        worker = FakeWorker(self, f"{slot}-{role}-{next(self._numbers)}", slot, role, on_event)
        self.workers.append(worker)
        if self.is_full:
            worker.pid = 0
            worker.die(127, "could not be started: Cannot allocate memory")
        return worker

    @property
    def serving(self) -> list[FakeWorker]:
        return [worker for worker in self.workers if worker.serving]

    def tick(self) -> None:
        """A second passes: everybody who serves says a window."""
        for worker in self.serving:
            worker.window()
