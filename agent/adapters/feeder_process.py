"""A feeder process as the supervisor sees it: one job in, pulses out, and no way to be hurt by it.

What a feeder says is decoded here; one that says anything else is killed. All else: `child_process`.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator

import msgspec

from wherry.agent.adapters.child_process import ChildProcess, NotUnderstood
from wherry.agent.feeder.messages import MAX_LINE_BYTES, Job, Pulse

GRACE_S = 3.0
"""How long a feeder may take to leave: its callback is given a moment to read what is left."""

MAX_PULSES_PER_S = 100
"""A feeder has something to say a few times a second; one that says far more is killed."""


class FeederSaid(msgspec.Struct, frozen=True):
    slot: str
    pulse: Pulse


class FeederEnded(msgspec.Struct, frozen=True):
    """`detail` is for a person: how it ended, and its last words on standard error."""

    slot: str
    detail: str


OnFeeder = Callable[[FeederSaid | FeederEnded], None]


class FeederProcess(ChildProcess[FeederSaid | FeederEnded]):
    """Use `start`; safe to use from any thread."""

    def __init__(self, job: Job, on_event: OnFeeder) -> None:
        super().__init__(f"feeder {job.slot}", on_event, words_per_s=MAX_PULSES_PER_S, grace_s=GRACE_S)
        self._job, self._pending = job, b""

    @classmethod
    def start(cls, job: Job, on_event: OnFeeder) -> "FeederProcess":
        """`on_event` is called by one thread, `FeederEnded` last and once; never raises for what the system refuses."""
        feeder = cls(job, on_event)
        feeder._launch()
        return feeder

    def stop(self) -> None:
        """Ask it to leave. Harmless on a dead one."""
        if self._process:
            self._process.terminate()

    def kill(self, accusation: str) -> None:
        """End it at once, for a reason that `FeederEnded` gives."""
        self._accuse(accusation)

    def close(self, grace_s: float = GRACE_S) -> None:
        """Wait `grace_s` for one that was stopped, then kill it. It is reaped on return."""
        self._part(grace_s, "killed because it did not leave")

    def _command(self, fd: int) -> list[str]:
        return command(fd)

    def _welcome(self) -> None:
        assert self._ours is not None, "it runs"
        with contextlib.suppress(OSError):  # it has ended already
            self._ours.sendall(msgspec.json.encode(self._job) + b"\n")

    def _events(self, data: bytes) -> Iterator[FeederSaid]:
        *lines, self._pending = (self._pending + data).split(b"\n")
        try:
            for line in lines:
                yield FeederSaid(self._job.slot, msgspec.json.decode(line, type=Pulse))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotUnderstood(str(error)) from error
        if len(self._pending) > MAX_LINE_BYTES:
            raise NotUnderstood("a line without an end")

    def _ended(self, _exit_code: int, detail: str) -> FeederEnded:
        return FeederEnded(self._job.slot, detail)


def command(fd: int) -> list[str]:
    """How a feeder is started; -P, so that no file of the working directory stands in for a package."""
    return [sys.executable, "-P", "-m", "wherry.agent.feeder", "--fd", str(fd)]
