"""What the agent must remember over a power cut: one immutable record, saved whole.

Rules upheld here:
- `incumbent` is the version that served last and is served again when the candidate fails.
- `last_good` is the committed version before the incumbent; it is tried once when the incumbent fails.
- `wish` is the newest assignment; it is `settled` once it has an outcome, so that nothing is tried twice.
- `unsteady_boots` counts the starts in a row that no steady time followed, and `given_up` how often everything was
  given up for them; `boots.py` says what follows of it.
- `handling` is the desired document that is being taken over, or that has stopped the agent too often meanwhile.
- `floor_s` is a time that it is certainly not earlier than; it never falls.
- `assignments` are those that incumbent and last good came of; `lost` is the one of an incumbent whose files were
  damaged, for which it is fetched again, once, where nothing else can serve.
"""

from collections.abc import Iterable, Iterator

import msgspec

from wherry.agent.core import boots
from wherry.agent.core.boots import Standing, Starts
from wherry.agent.core.drift import Baseline
from wherry.protocol.codec import encode
from wherry.protocol.down.desired import Assignment
from wherry.protocol.errors import TooLarge
from wherry.protocol.types import MAX_REASON_CHARS, Count, Digest, Name, Ordinal, VersionRef
from wherry.protocol.up.reported import Agreement, Outcome, Phase, QuarantineEntry, Reported, SlotReport

MAX_QUARANTINE = 16
"""As many as a report may carry; the oldest is forgotten first."""

MAX_EXECUTED_ACTIONS = 200
"""Ids of one-shot orders that are remembered, so that none is executed twice."""

SHORT_REASON_CHARS = 60
"""Where the whole of a reason makes a report too long."""

REST: tuple[Phase, ...] = ("empty", "running", "safe-mode")
BEFORE_SWITCH: tuple[Phase, ...] = ("preflight", "download", "verify", "self-test", "switch")
"""The states of an attempt in which the incumbent still serves."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment and the desired document that it stood in."""

    assignment: Assignment
    epoch: Ordinal
    generation: Ordinal

    @property
    def ref(self) -> VersionRef:
        return self.assignment.ref


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """`tries` counts the starts of the candidate; `incumbent_p95_ms` and `incumbent` are what it is measured against.

    `broker_before` is whether the broker was in reach at the switch.
    One that `restores` answers no wish: it brings back what was lost, and has no outcome.
    """

    wish: Wish
    tries: Count = 0
    incumbent_p95_ms: float | None = None
    incumbent: Baseline | None = None
    broker_before: bool = False
    restores: bool = False

    @property
    def ref(self) -> VersionRef:
        return self.wish.ref


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One slot. `incumbent_failed` keeps it in safe mode until somebody asks for something, or the agent starts.

    After a crash loop a start alone may not be enough, and time may be: see `boots.py`. `committed` is (epoch,
    generation) of the document that the incumbent was committed for. `agreement` is that of the newest self-test which
    compared anything; whose it is, it says.
    """

    state: Phase = "empty"
    incumbent: VersionRef | None = None
    last_good: VersionRef | None = None
    incumbent_failed: bool = False
    wish: Wish | None = None
    settled: bool = True
    attempt: Attempt | None = None
    outcome: Outcome | None = None
    agreement: Agreement | None = None
    quarantine: tuple[QuarantineEntry, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    lost: Assignment | None = None
    committed: tuple[Ordinal, Ordinal] = (0, 0)

    def quarantined(self, artifact: str) -> str | None:
        """Why `artifact` is in quarantine; None where it is not."""
        return next((entry.reason for entry in self.quarantine if entry.artifact == artifact), None)

    @property
    def serving(self) -> VersionRef | None:
        """What answers now: the candidate while on probation, else the incumbent."""
        if self.state == "probation" and self.attempt is not None:
            return self.attempt.ref
        return None if self.incumbent_failed else self.incumbent

    def refs(self) -> Iterator[VersionRef]:
        """Every version whose files must stay on disk."""
        candidate = None if self.attempt is None else self.attempt.ref
        lost = None if self.lost is None else self.lost.ref
        for ref in (self.incumbent, self.last_good, candidate, lost):
            if ref is not None:
                yield ref


class Handling(msgspec.Struct, frozen=True, kw_only=True):
    """A desired document on its way into the record. `starts` counts those of the agent since then."""

    epoch: Ordinal
    generation: Ordinal
    sha256: Digest
    starts: Count = 0

    def is_same(self, other: "Handling") -> bool:
        return msgspec.structs.replace(other, starts=self.starts) == self


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole record. `boots` counts starts of the agent and makes session numbers grow over them."""

    epoch: Ordinal = 0
    generation: Ordinal = 0
    artifacts_url: str | None = None
    boots: Count = 0
    unsteady_boots: Count = 0
    given_up: Count = 0
    handling: Handling | None = None
    floor_s: float = 0.0
    executed: tuple[str, ...] = ()
    slots: dict[Name, SlotRecord] = {}

    def slot(self, name: str) -> SlotRecord:
        return self.slots.get(name, SlotRecord())

    @property
    def has_taken_a_document(self) -> bool:
        return (self.epoch, self.generation) != (0, 0)

    @property
    def standing(self) -> Standing:
        """Where one slot serves, a steady time says something of the board, whatever other slots do."""
        slots = self.slots.values()
        if any(slot.state == "rolling-back" for slot in slots):
            return "going-back"
        if any(slot.serving for slot in slots):
            return "serving"
        if any(slot.state == "safe-mode" for slot in slots):
            return "safe-mode"
        return "asked" if any(slot.incumbent_failed for slot in slots) else "empty"

    def booted(self) -> "DeviceRecord":
        """At a start, before anything is done: it counts as unsteady until `steadied`, or `left` in good order."""
        handling = self.handling and msgspec.structs.replace(self.handling, starts=self.handling.starts + 1)
        return msgspec.structs.replace(
            self._with_starts(boots.started(self._starts)), boots=self.boots + 1, handling=handling
        )

    def steadied(self) -> "DeviceRecord":
        """Once the agent has run for a steady time."""
        return self if self.is_on_trial else self._with_starts(boots.steadied(self._starts, self.standing))

    @property
    def is_on_trial(self) -> bool:
        """Whether it is open what becomes of what was given up and is tried again."""
        return self.given_up > 0 and self.standing == "going-back"

    def on_trial(self) -> "DeviceRecord":
        """Before what is in safe mode is tried once more by an agent that runs."""
        return self._with_starts(boots.on_trial(self._starts))

    def left(self) -> "DeviceRecord":
        """Once the agent has been stopped in good order before that: this start says nothing."""
        return self._with_starts(boots.left(self._starts))

    @property
    def _starts(self) -> Starts:
        return Starts(self.unsteady_boots, self.given_up)

    def _with_starts(self, starts: Starts) -> "DeviceRecord":
        return msgspec.structs.replace(self, unsteady_boots=starts.unsteady, given_up=starts.given_up)

    def with_slot(self, name: str, slot: SlotRecord) -> "DeviceRecord":
        return msgspec.structs.replace(self, slots={**self.slots, name: slot})

    def with_executed(self, action_id: str) -> "DeviceRecord":
        return msgspec.structs.replace(self, executed=(*self.executed, action_id)[-MAX_EXECUTED_ACTIONS:])


def reported(record: DeviceRecord, names: Iterable[str]) -> Reported:
    """What the controller is told. Where it would be too long, the quarantine is shortened, then left out."""
    slots = [(name, record.slot(name)) for name in names]
    for reason_chars in (MAX_REASON_CHARS, SHORT_REASON_CHARS, None):
        reports = tuple(_report(name, slot, reason_chars) for name, slot in slots)
        message = Reported(epoch=record.epoch, generation=record.generation, slots=reports)
        try:
            encode(message)
        except TooLarge:
            continue
        return message
    raise AssertionError("eight slots without their quarantine fit")


def _report(name: str, slot: SlotRecord, reason_chars: int | None) -> SlotReport:
    """`reason_chars` limits all reasons; None leaves the quarantine out, and shortens the outcome's."""
    quarantine = () if reason_chars is None else slot.quarantine
    chars = SHORT_REASON_CHARS if reason_chars is None else reason_chars
    outcome = slot.outcome and msgspec.structs.replace(slot.outcome, reason=slot.outcome.reason[:chars])
    return SlotReport(
        slot=name,
        phase=slot.state,
        serving=slot.serving,
        candidate=slot.attempt.ref if slot.attempt is not None else None,
        outcome=outcome,
        agreement=_known_agreement(slot),
        quarantine=tuple(QuarantineEntry(artifact=entry.artifact, reason=entry.reason[:chars]) for entry in quarantine),
    )


def _known_agreement(slot: SlotRecord) -> Agreement | None:
    """Of what serves or is tried: that of a version which is gone means nothing any more."""
    at_work = (slot.serving, None if slot.attempt is None else slot.attempt.ref)
    is_known = slot.agreement is not None and any(ref and ref.artifact == slot.agreement.artifact for ref in at_work)
    return slot.agreement if is_known else None
