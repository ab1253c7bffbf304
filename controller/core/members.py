"""What the engine knows: the rollout and its devices, as they were read in one transaction."""

from typing import Literal

from wherry.controller.core.behaviour import Behaviour
from wherry.controller.core.plan import RolloutPlan
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import Variant
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth
from wherry.protocol.up.reported import SlotReport

Standing = Literal[
    "waiting", "sent", "in-progress", "retrying",
    "committed", "rejected", "reverted", "silent", "incompatible", "removed", "released",
]  # fmt: skip
"""Told apart in `core.standing`."""

Order = tuple[int, int]
"""(epoch, generation) of a desired document."""

State = Literal["queued", "running", "paused", "reverting", "completed", "reverted", "held", "aborted"]
Kind = Literal["rollout", "rollback"]
End = Literal["completed", "reverted", "held", "aborted"]
LIVE: tuple[State, ...] = ("running", "paused", "reverting")
"""In which the engine has something to do. One that is queued has no devices yet."""


class Override(Struct, frozen=True, kw_only=True):
    """An operator overruled a gate of one rollout, from `at_s` on."""

    gate: str
    reason: str
    actor: str
    at_s: float


class Rollout(Struct, frozen=True, kw_only=True):
    """`wave` is the newest open one, from 1. `ending` is where `reverting` leads, and `reason` why.

    `restore_from` is the first wave that is taken back while `reverting`.
    """

    plan: RolloutPlan
    variants: tuple[Variant, ...]
    state: State
    wave: int
    wave_count: int
    wave_opened_s: float
    kind: Kind = "rollout"
    ending: End = "reverted"
    reason: str = ""
    created_s: float = 0.0
    restore_from: int = 1
    overrides: tuple[Override, ...] = ()


class Sent(Struct, frozen=True, kw_only=True, gc=False):
    """The version was put into the device's desired document, for the `attempts`-th time.

    `previous` is what to give back. No attempts means that an operator wants it to be sent again, at once.
    """

    assignment: Assignment
    previous: Assignment | None
    order: Order
    at_s: float
    attempts: int = 1


class Restored(Struct, frozen=True, kw_only=True, gc=False):
    """The version was taken out of the device's desired document again."""

    order: Order
    at_s: float


class Member(Struct, frozen=True, kw_only=True, gc=False):
    """One device of a rollout; `wave` 0 is set apart. `standing` is as last recorded, since `standing_s`.

    `behaviour` is that of the version since it was sent to the device, `before` what was known then of its predecessor.
    """

    device: str
    wave: int
    known: bool = True
    birth: Birth | None = None
    report: SlotReport | None = None
    accepted: Order = (0, 0)
    sent: Sent | None = None
    restored: Restored | None = None
    presence: str = "online"
    presence_s: float = 0.0
    behaviour: Behaviour = Behaviour()
    before: Behaviour = Behaviour()
    standing: Standing = "waiting"
    reason: str = ""
    standing_s: float = 0.0
