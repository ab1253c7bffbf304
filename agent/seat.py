"""One worker process and where it stands: loading, testing, ready, serving or stopping.

Rules upheld here:
- Every order has a time limit; a worker that does not answer in time is killed.
- A worker that serves says a window every second or so, with or without requests; one that falls silent hangs.
- Whoever sits here hears exactly one end, in words: `ended`, or `not_started` of a worker that never ran.
- What a worker says after it was told to stop counts no more, except its last window.
"""

import os
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.adapters.worker_process import WorkerEnded
from wherry.agent.launch import Launch
from wherry.agent.services import Listening, Services, Worker
from wherry.agent.worker.messages import (
    AnyAnswer,
    AnyOrder,
    Loaded,
    Refused,
    SelfTested,
    Serve,
    Serving,
    Stop,
    Stopped,
    Window,
)

LATE_S = 5.0
"""A limit that is noticed so late says nothing of the worker; it is given as long again."""

Stage = Literal["loading", "testing", "ready", "starting", "serving", "stopping", "ended"]
Role = Literal["serving", "candidate", "check"]

WINDOW_S = 1.0
"""Shorter than telemetry's: a bad candidate is noticed within a second."""


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell. The last two get the reason; not called for a worker that was told to stop."""

    loaded: Callable[[], None]
    tested: Callable[[SelfTested], None]
    serving: Callable[[], None]
    window: Callable[[Window], None]
    ended: Callable[[str], None]
    not_started: Callable[[str], None]


class Seat:
    """`samples` is where the worker keeps what it is asked, once it serves; None without."""

    def __init__(self, services: Services, slot: str, role: Role, hooks: Hooks) -> None:
        self._services, self._slot, self._hooks = services, slot, hooks
        self._worker: Worker = services.start_worker(slot, role, services.on_worker)
        self._said = ""
        self.stage: Stage = "loading"
        self.samples: SampleFile | None = None
        self._limit = services.timers.after(services.config.worker.load_limit_s, self._expired)

    @property
    def worker_id(self) -> str:
        return self._worker.worker_id

    @property
    def pid(self) -> int:
        return self._worker.pid

    def load(self, launch: Launch) -> None:
        self._order("loading", launch.load, self._services.config.worker.load_limit_s, [launch.artifact])

    def test(self, launch: Launch, samples: SampleFile | None = None) -> None:
        """With golden vectors that were asked for when the launch was prepared, and `samples` of the incumbent."""
        assert launch.golden is not None, "verified with the artifact"
        limit_s = self._services.config.worker.self_test_limit_s
        opened = _opened(samples)
        order = msgspec.structs.replace(launch.test, samples=bool(opened), files=1 + len(opened))
        self._order("testing", order, limit_s, [launch.golden, *opened])
        for file in opened:
            os.close(file)

    def serve(self) -> None:
        """Answer on the slot's listening sockets, beside whoever answers there already."""
        config = self._services.config
        listening = self._services.listening.get(self._slot, Listening())
        self.samples = _sample_file(config.worker.samples_bytes)
        files = (*listening.files, *([] if self.samples is None else [self.samples.writable]))
        order = Serve(
            window_s=min(WINDOW_S, config.telemetry_window_s),
            listeners=listening.kinds,
            files=len(files),
            max_request_bytes=config.data_plane.max_request_bytes,
            samples=self.samples is not None,
        )
        self._order("starting", order, config.worker.load_limit_s, files)

    def stop(self) -> None:
        """Drain and leave; killed after a while."""
        if self.stage not in ("stopping", "ended"):
            config = self._services.config
            drain_s = min(config.data_plane.drain_s, config.worker.stop_limit_s / 2)
            self._order("stopping", Stop(drain_s=drain_s), config.worker.stop_limit_s)

    def hand_to(self, hooks: Hooks) -> None:
        """Somebody else is told from now on."""
        self._hooks = hooks

    def kill(self) -> None:
        self._worker.kill()

    def said(self, answer: AnyAnswer) -> None:
        """The worker answered; answers that do not belong to the stage are dropped."""
        match self.stage, answer:
            case _, Window():
                if self.stage == "serving":
                    self._wait(self._services.config.worker.silence_limit_s)
                self._hooks.window(answer)
            case "loading", Loaded():
                self._answered("ready")
                self._hooks.loaded()
            case "testing", SelfTested():
                self._answered("ready")
                self._hooks.tested(answer)
            case "starting", Serving():
                self._answered("serving")
                self._wait(self._services.config.worker.silence_limit_s)
                self._hooks.serving()
            case "stopping", Stopped():
                pass
            case _, Refused():
                self._said = answer.reason

    def ended(self, event: WorkerEnded) -> None:
        """The process is gone."""
        stage, self.stage = self.stage, "ended"
        self._limit.cancel()
        self._worker.close()
        if self.samples is not None:
            self.samples.close()
            self.samples = None
        if stage == "stopping":
            return
        if self._worker.pid == 0:
            self._hooks.not_started(event.detail)
        else:
            self._hooks.ended(self._said or f"the worker ended while {stage}: {event.detail}")

    def _order(self, stage: Stage, order: AnyOrder, limit_s: float, files: Sequence[int] = ()) -> None:
        self.stage = stage
        self._wait(limit_s)
        self._worker.send(order, files)

    def _wait(self, limit_s: float) -> None:
        self._limit.cancel()
        self._limit = self._services.timers.after(limit_s, self._expired)

    def _answered(self, stage: Stage) -> None:
        self._limit.cancel()
        self.stage = stage

    def _expired(self) -> None:
        if self._services.clock.now_s() - self._limit.due_s > LATE_S:
            self._wait(LATE_S)  # it was we who did not look, or the board slept: whoever lives says so by then
            return
        self._said = self._said or f"no answer while {self.stage} within its time limit"
        self._worker.kill()


def _sample_file(size_bytes: int) -> SampleFile | None:
    """None where none is wanted, or it cannot be made: serving matters more."""
    try:
        return SampleFile(size_bytes) if size_bytes else None
    except OSError:
        return None


def _opened(samples: SampleFile | None) -> list[int]:
    """For reading; empty without any, and where the board has no room for one more open file."""
    try:
        return [] if samples is None else [samples.open_for_reading()]
    except OSError:
        return []
