"""Rollouts: begun, watched and stopped by an operator, carried on by `tick`.

The engine (`core.rollout`) decides from the rows alone; what it decides is carried out in the
transaction that the rows were read in. So a controller killed at any moment carries on, and a tick
that is run again finds nothing left to do.
"""

from typing import Literal

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core import explain as text
from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import OnAbort, RolloutPlan
from wherry.controller.errors import Conflict, NotFound
from wherry.controller.operations import audit, registry
from wherry.controller.operations.carry_out import recall, step
from wherry.controller.operations.documents import assignment_of
from wherry.controller.operations.fleet import aim
from wherry.controller.operations.launch import launch, plan_waves, variants_of
from wherry.controller.operations.live_blobs import live_blobs
from wherry.controller.operations.members import assignment
from wherry.controller.operations.rollout_view import DeviceProgress, RolloutView, view
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, RolloutDeviceRow, RolloutRow

__all__ = [
    "DeviceProgress", "RolloutView", "abort", "explain", "get_rollout", "list_rollouts",
    "live_blobs", "pause", "resume", "start", "tick",
]  # fmt: skip

_log = structlog.get_logger(__name__)


def start(db: Database, plan: RolloutPlan, *, paused: bool = False, now_s: float, actor: str) -> RolloutView:
    """Plan and begin a rollout; the first wave is sent in the same transaction, unless `paused`.

    Raises NotFound for the version or a named device, Invalid where the target is empty or the
    waves do not reach all of it, Conflict where a live rollout has one of the devices and the slot,
    or no device can run the version (with the reasons).
    """
    with db.write() as session:
        version = registry.find_version(session, f"{plan.model}:{plan.version}")
        waves = plan_waves(session, plan, version, aim(session, plan.target))
        return view(session, launch(session, plan, waves, kind="rollout", paused=paused, now_s=now_s, actor=actor))


def explain(db: Database, plan: RolloutPlan) -> str:
    """What `start` would do now, as text for a person. Raises what `start` would."""
    with db.read() as session:
        version = registry.find_version(session, f"{plan.model}:{plan.version}")
        candidates = aim(session, plan.target)
        waves = plan_waves(session, plan, version, candidates)
        return text.explain(plan, variants_of(version), candidates, waves)


def pause(db: Database, rollout: int, *, now_s: float, actor: str) -> RolloutView:
    """Send and promote nothing more; a breach still acts, and deadlines still run.

    Idempotent. Raises NotFound, or Conflict once it is being taken back or has ended.
    """
    return _switch(db, rollout, "paused", now_s=now_s, actor=actor)


def resume(db: Database, rollout: int, *, now_s: float, actor: str) -> RolloutView:
    """Carry on after `pause`. Idempotent. Raises NotFound, or Conflict once it has ended."""
    return _switch(db, rollout, "running", now_s=now_s, actor=actor)


def abort(db: Database, rollout: int, *, restore: OnAbort, now_s: float, actor: str) -> RolloutView:
    """Stop for good: `revert` gives back what was there before, `keep` does so where it has not settled.

    So nobody begins or finishes later, when no gate watches any more. Idempotent; a held rollout can
    still be reverted, unless its devices have moved on since. Raises NotFound, or Conflict where it
    ended otherwise.
    """
    with db.write() as session:
        row = _find(session, rollout)
        if row.state == "aborted" or (row.state == "reverting" and restore == "revert"):
            return view(session, row)
        if row.state in ("completed", "reverted"):
            raise Conflict(f"rollout {rollout} has ended {row.state}", f"use `wherry rollback {row.model}`")
        live = row.state in LIVE
        row.reason = f"aborted by {actor}"
        if restore == "revert":
            _refuse_moved_on(session, row)
            row.state, row.ending, row.ended_s = "reverting", "aborted", None
            step(session, row, now_s)
        else:
            if live:
                recall(session, row, now_s)
            row.state, row.ended_s = "aborted", now_s
        audit.record(session, "rollout-aborted", f"rollout {rollout}", now_s=now_s, actor=actor, restore=restore)
        return view(session, row)


def tick(db: Database, *, now_s: float) -> tuple[str, ...]:
    """Carry every live rollout on by what is known now; the devices that have a new desired document.

    Run at every event, and once a second. A rollout that cannot be carried on holds up no other: what
    it raised is raised when all have had their turn and are committed.
    """
    devices: list[str] = []
    failures: list[Exception] = []
    with db.write() as session:
        rows = session.scalars(select(RolloutRow).where(RolloutRow.state.in_(LIVE)).order_by(RolloutRow.id)).all()
        for number, row in [(row.id, row) for row in rows]:
            try:
                with session.begin_nested():
                    devices += step(session, row, now_s)
            except Exception as error:  # noqa: BLE001 - one damaged rollout must not stop the others
                _log.error("a rollout cannot be carried on", rollout=number, error=str(error))
                failures.append(error)
    if failures:
        raise failures[0]
    return tuple(devices)


def get_rollout(db: Database, rollout: int) -> RolloutView:
    """Raises NotFound."""
    with db.read() as session:
        return view(session, _find(session, rollout))


def list_rollouts(db: Database, *, max_rollouts: int = 100) -> list[RolloutView]:
    """Newest first."""
    with db.read() as session:
        rows = session.scalars(select(RolloutRow).order_by(RolloutRow.id.desc()).limit(max_rollouts))
        return [view(session, row) for row in rows.all()]


def _find(session: Session, rollout: int) -> RolloutRow:
    row = session.get(RolloutRow, rollout)
    if row is None:
        raise NotFound(f"no rollout {rollout}", "see `wherry rollout list`")
    return row


def _refuse_moved_on(session: Session, row: RolloutRow) -> None:
    """Raises Conflict where one of its devices has been asked for something else since."""
    entries = select(RolloutDeviceRow).where(RolloutDeviceRow.rollout == row.id, RolloutDeviceRow.sent.is_not(None))
    for entry in session.scalars(entries):
        left = entry.sent if entry.restored_s is None else entry.previous
        if assignment_of(session.get(DesiredRow, entry.device), row.slot) != assignment(left):
            raise Conflict(
                f"{entry.device} was given something else since rollout {row.id} was {row.state}",
                f"use `wherry rollback {row.model}`",
            )


def _switch(
    db: Database, rollout: int, state: Literal["running", "paused"], *, now_s: float, actor: str
) -> RolloutView:
    with db.write() as session:
        row = _find(session, rollout)
        if row.state not in ("running", "paused"):
            raise Conflict(f"rollout {rollout} is {row.state}: {row.reason}", "start another one")
        if row.state != state:
            row.state = state
            audit.record(session, f"rollout-{state}", f"rollout {rollout}", now_s=now_s, actor=actor)
            step(session, row, now_s)
        return view(session, row)
