"""Rollouts: begun, watched and stopped by an operator, carried on by `tick`.

The engine (`core.rollout`) decides from the rows alone; what it decides is carried out in the
transaction that the rows were read in. So a controller killed at any moment carries on, and a tick
that is run again finds nothing left to do.
"""

from collections.abc import Sequence
from typing import Literal

from wherry.controller.core.plan import RolloutPlan
from wherry.controller.store.database import Database
from wherry.protocol.blob import BlobRef
from wherry.protocol.types import Struct

Restore = Literal["keep", "revert"]


class DeviceProgress(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`standing` is one of core.standing.STANDINGS; `wave` 0 is set apart: it cannot run any variant."""

    device: str
    wave: int
    standing: str
    reason: str
    since_s: float
    variant: str | None
    previous: str | None
    restored: bool


class GateView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`verdict` is ok, wait or breach; `reason` says why, with the numbers."""

    gate: str
    verdict: str
    reason: str


class RolloutView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`state`: running, paused, reverting, then one of completed, reverted, held, aborted.

    `wave` of `wave_count` is open, from 1. `counts` has the devices by standing. `live` is False
    once nothing more happens by itself.
    """

    id: int
    kind: str
    plan: RolloutPlan
    state: str
    live: bool
    reason: str
    wave: int
    wave_count: int
    wave_opened_s: float
    counts: dict[str, int]
    created_s: float
    created_by: str
    ended_s: float | None
    devices: tuple[DeviceProgress, ...]
    gates: tuple[GateView, ...]


class Tick(Struct, frozen=True, kw_only=True):
    """`devices` have a new desired document; `changed` are the rollouts to show anew."""

    devices: tuple[str, ...]
    changed: tuple[int, ...]


def start(db: Database, plan: RolloutPlan, *, now_s: float, actor: str) -> RolloutView:
    """Plan and begin a rollout; the first wave is sent in the same transaction.

    Raises NotFound for the version or a named device, Invalid where the target is empty or the
    waves do not reach all of it, Conflict where a live rollout has one of the devices and the slot,
    or no device can run the version (with the reasons).
    """
    raise NotImplementedError


def explain(db: Database, plan: RolloutPlan) -> str:
    """What `start` would do, as text for a person; the order inside waves is drawn at the start."""
    raise NotImplementedError


def pause(db: Database, rollout: int, *, now_s: float, actor: str) -> RolloutView:
    """Send and promote nothing more; a breach still acts. Idempotent. Raises Conflict once ended."""
    raise NotImplementedError


def resume(db: Database, rollout: int, *, now_s: float, actor: str) -> RolloutView:
    """Carry on after `pause`. Idempotent. Raises Conflict once ended."""
    raise NotImplementedError


def abort(db: Database, rollout: int, *, restore: Restore, now_s: float, actor: str) -> RolloutView:
    """Stop for good: `keep` leaves every device as it is, `revert` gives back what was there before.

    Idempotent; a held rollout can still be reverted. Raises Conflict where it ended otherwise.
    """
    raise NotImplementedError


def tick(db: Database, *, now_s: float) -> Tick:
    """Carry every live rollout on by what is known now. Run at every event, and once a second."""
    raise NotImplementedError


def get_rollout(db: Database, rollout: int) -> RolloutView:
    """Raises NotFound."""
    raise NotImplementedError


def list_rollouts(db: Database, *, max_rollouts: int = 100) -> list[RolloutView]:
    """Newest first."""
    raise NotImplementedError


def live_blobs(db: Database) -> Sequence[BlobRef]:
    """What must be on the broker: all blobs that a live rollout, or a device out of step, still needs."""
    raise NotImplementedError
