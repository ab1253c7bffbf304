"""What the engine knows: the rollout and its devices, as they were read in one transaction."""

from typing import Literal

from wherry.controller.core.plan import RolloutPlan
from wherry.protocol.down.desired import Assignment
from wherry.protocol.latency import LatencySketch
from wherry.protocol.manifest import Variant
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth
from wherry.protocol.up.reported import SlotReport

Standing = Literal[
    "waiting", "sent", "in-progress", "committed", "rejected", "reverted", "silent", "incompatible", "removed"
]
"""Told apart in `core.standing`."""

Order = tuple[int, int]
"""(epoch, generation) of a desired document."""

State = Literal["running", "paused", "reverting", "completed", "reverted", "held", "aborted"]
Kind = Literal["rollout", "rollback"]
End = Literal["completed", "reverted", "held", "aborted"]
LIVE: tuple[State, ...] = ("running", "paused", "reverting")


class Rollout(Struct, frozen=True, kw_only=True):
    """`wave` is the newest open one, from 1. `ending` is where `reverting` leads, and `reason` why."""

    plan: RolloutPlan
    variants: tuple[Variant, ...]
    state: State
    wave: int
    wave_count: int
    wave_opened_s: float
    kind: Kind = "rollout"
    ending: End = "reverted"
    reason: str = ""


class Sent(Struct, frozen=True, kw_only=True):
    """The version was put into the device's desired document. `previous` is what to give back."""

    assignment: Assignment
    previous: Assignment | None
    order: Order
    at_s: float


class Restored(Struct, frozen=True, kw_only=True):
    """The version was taken out of the device's desired document again."""

    order: Order
    at_s: float


class Evidence(Struct, frozen=True, kw_only=True):
    """What the version did on one device since it was sent there, and how fast its predecessor was."""

    inferences: int = 0
    errors: int = 0
    latency: LatencySketch = LatencySketch()
    before: LatencySketch = LatencySketch()


class Member(Struct, frozen=True, kw_only=True):
    """One device of a rollout; `wave` 0 is set apart. `standing` is as last recorded, since `standing_s`."""

    device: str
    wave: int
    known: bool = True
    birth: Birth | None = None
    report: SlotReport | None = None
    accepted: Order = (0, 0)
    sent: Sent | None = None
    restored: Restored | None = None
    evidence: Evidence = Evidence()
    standing: Standing = "waiting"
    reason: str = ""
    standing_s: float = 0.0
