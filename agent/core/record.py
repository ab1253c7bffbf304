"""What the agent must remember over a power cut: one immutable record, saved whole.

Rules upheld here:
- `incumbent` is the version that served last and is served again when the candidate fails.
- `last_good` is the committed version before the incumbent; it is tried once when the incumbent fails.
- `wish` is the newest assignment; it is `settled` once it has an outcome, so that nothing is tried twice.
"""

from collections.abc import Iterator
from typing import get_args

import msgspec

from wherry.protocol.down.desired import Assignment
from wherry.protocol.types import Count, Name, VersionRef
from wherry.protocol.up.reported import Outcome, Phase, QuarantineEntry, SlotReport

MAX_QUARANTINE = 16
"""As many as a report may carry; the oldest is forgotten first."""

MAX_EXECUTED_ACTIONS = 200
"""Ids of one-shot orders that are remembered, so that none is executed twice."""

STATES: tuple[Phase, ...] = get_args(Phase)
REST: tuple[Phase, ...] = ("empty", "running", "safe-mode")
BEFORE_SWITCH: tuple[Phase, ...] = ("preflight", "download", "verify", "self-test", "switch")
"""The states of an attempt in which the incumbent still serves."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment and the desired document that it stood in."""

    assignment: Assignment
    epoch: Count
    generation: Count

    @property
    def ref(self) -> VersionRef:
        return self.assignment.ref


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """`tries` counts the starts of the candidate; `incumbent_p95_ms` is what it is measured against."""

    wish: Wish
    tries: Count = 0
    incumbent_p95_ms: float | None = None

    @property
    def ref(self) -> VersionRef:
        return self.wish.ref


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One slot. `incumbent_failed` keeps a slot in safe mode until somebody asks for something."""

    state: Phase = "empty"
    incumbent: VersionRef | None = None
    last_good: VersionRef | None = None
    incumbent_failed: bool = False
    wish: Wish | None = None
    settled: bool = True
    attempt: Attempt | None = None
    outcome: Outcome | None = None
    quarantine: tuple[QuarantineEntry, ...] = ()

    def quarantined(self, artifact: str) -> str | None:
        """Why `artifact` is in quarantine; None where it is not."""
        return next((entry.reason for entry in self.quarantine if entry.artifact == artifact), None)

    @property
    def serving(self) -> VersionRef | None:
        """What answers now: the candidate while on probation, else the incumbent."""
        if self.state == "probation" and self.attempt is not None:
            return self.attempt.ref
        return None if self.state == "safe-mode" else self.incumbent

    def refs(self) -> Iterator[VersionRef]:
        """Every version whose files must stay on disk."""
        candidate = None if self.attempt is None else self.attempt.ref
        for ref in (self.incumbent, self.last_good, candidate):
            if ref is not None:
                yield ref


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole record. `boots` counts starts of the agent and makes session numbers grow over them."""

    epoch: Count = 0
    generation: Count = 0
    artifacts_url: str | None = None
    boots: Count = 0
    executed: tuple[str, ...] = ()
    slots: dict[Name, SlotRecord] = {}

    def slot(self, name: str) -> SlotRecord:
        return self.slots.get(name, SlotRecord())

    def with_slot(self, name: str, slot: SlotRecord) -> "DeviceRecord":
        return msgspec.structs.replace(self, slots={**self.slots, name: slot})

    def with_executed(self, action_id: str) -> "DeviceRecord":
        return msgspec.structs.replace(self, executed=(*self.executed, action_id)[-MAX_EXECUTED_ACTIONS:])


def report(name: str, slot: SlotRecord) -> SlotReport:
    """What the controller is told about a slot."""
    return SlotReport(
        slot=name,
        phase=slot.state,
        serving=slot.serving,
        candidate=slot.attempt.ref if slot.attempt is not None else None,
        outcome=slot.outcome,
        quarantine=slot.quarantine,
    )
