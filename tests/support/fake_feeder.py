"""Feeders behind the interface of `FeederProcess`, which say what a test lets them say."""

from collections.abc import Callable

from wherry.agent.adapters.feeder_process import GRACE_S, FeederEnded, FeederSaid, OnFeeder
from wherry.agent.feeder.messages import Job, Pulse


class FakeFeeder:
    """One that `hangs` does not leave when it is asked to; whoever closes it waits for that."""

    def __init__(self, job: Job, on_event: OnFeeder, wait: Callable[[float], None]) -> None:
        self.job, self._on_event, self._wait = job, on_event, wait
        self.ended = self.closed = self.hangs = False

    def say(self, *remarks: str, passed_over: int = 0) -> None:
        self._on_event(FeederSaid(self.job.slot, Pulse(passed_over=passed_over, remarks=remarks)))

    def end(self, detail: str) -> None:
        if not self.ended:
            self.ended = True
            self._on_event(FeederEnded(self.job.slot, detail))

    def stop(self) -> None:
        if not self.hangs:
            self.end("exited with status 0")

    def kill(self, accusation: str) -> None:
        self.end(accusation)

    def close(self, grace_s: float = GRACE_S) -> None:
        assert self.ended or self.hangs, "only a feeder that has ended, or was asked to, is closed"
        if not self.ended:
            self._wait(grace_s)
            self.kill("killed because it did not leave")
        self.closed = True


class Feeding:
    """Starts fake feeders and remembers them."""

    def __init__(self, on_event: OnFeeder, wait: Callable[[float], None]) -> None:
        self._on_event, self._wait = on_event, wait
        self.feeders: list[FakeFeeder] = []

    def start(self, job: Job) -> FakeFeeder:
        self.feeders.append(FakeFeeder(job, self._on_event, self._wait))
        return self.feeders[-1]

    @property
    def up(self) -> list[FakeFeeder]:
        return [feeder for feeder in self.feeders if not feeder.ended]
