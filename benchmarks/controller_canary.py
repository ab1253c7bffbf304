"""One device that is played by hand, message by message: it takes a version, fails, and takes back what it had."""

from benchmarks.controller_devices import REAL
from benchmarks.controller_sea import Listener
from tests.support.controller_values import LITERT, make_birth
from wherry.protocol import topics
from wherry.protocol.codec import decode_down, encode
from wherry.protocol.down import Desired
from wherry.protocol.types import Message
from wherry.protocol.up import Reported, Status
from wherry.protocol.up.reported import Outcome, Result, SlotReport

CANARY = "canary-1"


class Canary:
    """Speaks and hears over the connection of `listener`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._topic = topics.down(REAL, CANARY, "desired")
        self._slot = SlotReport(slot="main", phase="empty")
        listener.subscribe(self._topic)
        self._say("status", Status(presence="online", session=1))
        self._say("birth", make_birth(LITERT))
        self._say("reported", Reported(epoch=0, generation=0, slots=(self._slot,)))

    def await_version(self, number: int) -> Desired:
        """The document that asks for the version."""
        self._listener.wait_for(lambda: self._asked(number), f"the canary is sent version {number}")
        return self._newest()

    def await_back(self, bad: Desired) -> float:
        """When a document came that asks for another version than the bad one."""
        (wanted,) = bad.slots
        return self._listener.wait_for(lambda: not self._asked(wanted.version), "the version is taken back")

    def commit(self, desired: Desired) -> None:
        (wanted,) = desired.slots
        self._slot = SlotReport(slot="main", phase="running", serving=wanted.ref)
        self._report(desired, "committed", "")

    def fail(self, desired: Desired) -> None:
        """It reverted by itself, and goes on with what it had."""
        self._report(desired, "reverted", "50 errors in 100 requests")

    def settle(self) -> None:
        """Take the newest document, which asks for what is running."""
        newest = self._newest()
        self._say("reported", Reported(epoch=newest.epoch, generation=newest.generation, slots=(self._slot,)))

    def _report(self, desired: Desired, result: Result, reason: str) -> None:
        (wanted,) = desired.slots
        order = {"epoch": desired.epoch, "generation": desired.generation}
        outcome = Outcome(ref=wanted.ref, result=result, phase="probation", reason=reason, **order)
        slot = SlotReport(slot="main", phase="running", serving=self._slot.serving, outcome=outcome)
        self._say("reported", Reported(slots=(slot,), **order))

    def _asked(self, number: int) -> bool:
        return self._topic in self._listener.newest and [slot.version for slot in self._newest().slots] == [number]

    def _newest(self) -> Desired:
        message = decode_down("desired", self._listener.newest[self._topic])
        assert isinstance(message, Desired)
        return message

    def _say(self, kind: topics.Up, message: Message) -> None:
        self._listener.client.publish(topics.up(REAL, CANARY, kind), encode(message), qos=1, retain=kind != "event")
