"""Feeders behind the interface of `FeederProcess`, which say what a test lets them say."""

from wherry.agent.adapters.feeder_process import FeederEnded, FeederSaid, OnFeeder
from wherry.agent.feeder.messages import Job, Pulse


class FakeFeeder:
    def __init__(self, job: Job, on_event: OnFeeder) -> None:
        self.job, self._on_event = job, on_event
        self.ended = self.closed = False

    def say(self, *remarks: str, passed_over: int = 0) -> None:
        self._on_event(FeederSaid(self.job.slot, Pulse(passed_over=passed_over, remarks=remarks)))

    def end(self, detail: str) -> None:
        if not self.ended:
            self.ended = True
            self._on_event(FeederEnded(self.job.slot, detail))

    def stop(self) -> None:
        self.end("exited with status 0")

    def kill(self, accusation: str) -> None:
        self.end(accusation)

    def close(self) -> None:
        assert self.ended, "only a feeder that has ended, or was asked to, is closed"
        self.closed = True


class Feeding:
    """Starts fake feeders and remembers them."""

    def __init__(self, on_event: OnFeeder) -> None:
        self._on_event = on_event
        self.feeders: list[FakeFeeder] = []

    def start(self, job: Job) -> FakeFeeder:
        self.feeders.append(FakeFeeder(job, self._on_event))
        return self.feeders[-1]

    @property
    def up(self) -> list[FakeFeeder]:
        return [feeder for feeder in self.feeders if not feeder.ended]
