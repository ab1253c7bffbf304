"""Rollouts that wait for others: begun in the order in which they were asked for, as soon as nothing overlaps.

Rules upheld here:
- The waves are cut when the rollout begins, over the fleet as it is then.
- Named devices that have left the fleet by then are left out, and listed with the reason.
- One that cannot begin when its turn comes ends aborted, with the reason; it holds up nobody.
"""

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.standing import GONE
from wherry.controller.errors import UserError
from wherry.controller.operations import audit
from wherry.controller.operations.entries import add, new_entry
from wherry.controller.operations.fleet import aim, without_gone
from wherry.controller.operations.launch import begin, plan_waves, resolve, wait
from wherry.controller.operations.overlap import live_overlap, queued_overlap, released
from wherry.controller.store.tables import RolloutRow


def due(session: Session) -> list[RolloutRow]:
    """Queued rollouts, oldest first, whose predecessor is not on its way any more: a look at the rollouts alone."""
    rows = session.scalars(select(RolloutRow).where(RolloutRow.state == "queued").order_by(RolloutRow.id)).all()
    if not rows:
        return []
    pending = set(session.scalars(select(RolloutRow.id).where(RolloutRow.state.in_((*LIVE, "queued")))))
    return [row for row in rows if row.waits_for not in pending]


def begin_if_free(session: Session, row: RolloutRow, now_s: float) -> tuple[str, ...]:
    """Begin, wait for another one, or end; the devices that have a new desired document."""
    try:
        with session.begin_nested():
            return _begin_if_free(session, row, now_s)
    except UserError as error:
        row.state, row.ended_s, row.reason = "aborted", now_s, f"could not begin: {error.message}"
        audit.record(
            session, "rollout-aborted", f"rollout {row.id}", now_s=now_s, actor=audit.ENGINE, reason=row.reason
        )
        return ()


def _begin_if_free(session: Session, row: RolloutRow, now_s: float) -> tuple[str, ...]:
    plan, version = resolve(session, msgspec.json.decode(row.plan, type=RolloutPlan))
    away, left = released(session, row), without_gone(session, plan.target)
    candidates = [entry for entry in aim(session, left) if entry.device not in away]
    waves = plan_waves(session, plan, version, candidates, rollout=row.id)
    devices = [device for wave in waves.waves for device in wave]
    overlap = live_overlap(session, row.slot, devices) or queued_overlap(session, row.slot, devices, before=row.id)
    if overlap is not None:
        wait(row, overlap)
        return ()
    gone = [device for device in plan.target.devices if device not in left.devices]
    entries = [new_entry(row, device, 0, place, now_s, "removed", GONE) for place, device in enumerate(gone)]
    add(session, [entry for entry in entries if entry["device"] not in away])
    return begin(session, row, plan, waves, paused=False, now_s=now_s, actor=audit.ENGINE)
