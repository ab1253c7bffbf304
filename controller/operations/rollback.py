"""The operator's way back: a whole fleet to one version, at once, in one command."""

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import FULL_FLEET, RolloutPlan, Target
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit, registry
from wherry.controller.operations.carry_out import recall
from wherry.controller.operations.documents import assignment_of
from wherry.controller.operations.fleet import aim, report_of
from wherry.controller.operations.launch import launch, plan_waves
from wherry.controller.operations.rollout_view import RolloutView, view
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, DeviceRow, RolloutRow

DEADLINE_S = 3600.0


def rollback(
    db: Database,
    model: str,
    version: int | None = None,
    *,
    slot: str = "main",
    target: Target | None = None,
    device_deadline_s: float = DEADLINE_S,
    now_s: float,
    actor: str,
) -> RolloutView:
    """Assign `version` to every device of the target that has the model in the slot, without waves.

    Without a version: the one that the fleet ran before, that is the newest earlier rollout that
    was completed with another version; refused where the last thing was a rollback, so that the command
    given again never leads forward to the version that was left. Live rollouts of the model and slot
    are aborted in the same transaction, on devices outside the target too. What comes back is a rollout
    of the kind `rollback`: one wave, no gates but the deadline, to be watched like any other; devices
    that cannot run the version, or have it in quarantine, are in it with the reason. Idempotent: a live
    rollback of the same target to the same version is returned.
    Raises NotFound, or Conflict where there is nothing to go back to.
    """
    aimed = target or Target()
    with db.write() as session:
        live = _live(session, model, slot)
        same = _same(live, version, aimed)
        if same is not None:
            return view(session, same)
        number = version if version is not None else _version_before(session, model, slot)
        found = registry.find_version(session, f"{model}:{number}")
        candidates = [entry for entry in aim(session, aimed) if _has(session, entry, model, slot)]
        if not candidates:
            raise Conflict(
                f"no device of the target has {model!r} in slot {slot!r}", f"use `wherry rollout start {model}`"
            )
        _supersede(session, live, now_s=now_s, actor=actor)
        plan = _plan(model, number, slot, aimed, candidates, device_deadline_s)
        waves = plan_waves(session, plan, found, candidates)
        return view(session, launch(session, plan, waves, kind="rollback", now_s=now_s, actor=actor))


def _plan(
    model: str, number: int, slot: str, target: Target, candidates: list[Candidate], device_deadline_s: float
) -> RolloutPlan:
    """One wave for everybody, in which nothing is a breach but that nobody at all commits."""
    return RolloutPlan(
        model=model,
        version=number,
        slot=slot,
        target=target,
        waves=FULL_FLEET,
        soak_s=0.0,
        min_inferences=0,
        max_failures=len(candidates),
        max_error_share=1.0,
        device_deadline_s=device_deadline_s,
        on_breach="hold",
    )


def _live(session: Session, model: str, slot: str) -> list[RolloutRow]:
    wanted = select(RolloutRow).where(RolloutRow.model == model, RolloutRow.slot == slot)
    return list(session.scalars(wanted.where(RolloutRow.state.in_(LIVE)).order_by(RolloutRow.id.desc())))


def _same(live: list[RolloutRow], version: int | None, target: Target) -> RolloutRow | None:
    """The live rollback that this would repeat."""
    newest = live[0] if live else None
    if newest is None or newest.kind != "rollback" or version not in (None, newest.version):
        return None
    return newest if msgspec.json.decode(newest.plan, type=RolloutPlan).target == target else None


def _version_before(session: Session, model: str, slot: str) -> int:
    """The current version is that of the newest rollout not taken back; before it, the last completed other.

    After a rollback nothing is before: it would be the version that was just left. Raises Conflict.
    """
    wanted = select(RolloutRow).where(RolloutRow.model == model, RolloutRow.slot == slot)
    standing = wanted.where(RolloutRow.state.in_(("running", "paused", "held", "completed")))
    rows = session.scalars(standing.order_by(RolloutRow.id.desc())).all()
    if rows and rows[0].kind == "rollback":
        raise Conflict(
            f"{model!r} was rolled back last, to {model}:{rows[0].version}",
            f"name the version to go elsewhere: wherry rollback {model} --to {rows[0].version}",
        )
    for row in rows[1:]:
        if row.state == "completed" and row.version != rows[0].version:
            return row.version
    raise Conflict(f"{model!r} has no earlier completed rollout", f"name the version: wherry rollback {model} --to 1")


def _has(session: Session, candidate: Candidate, model: str, slot: str) -> bool:
    """The device was asked to run the model in the slot, or says that it does."""
    asked = assignment_of(session.get(DesiredRow, candidate.device), slot)
    if asked is not None and asked.model == model:
        return True
    report = report_of(session.get_one(DeviceRow, candidate.device), slot)
    return report is not None and report.serving is not None and report.serving.model == model


def _supersede(session: Session, live: list[RolloutRow], *, now_s: float, actor: str) -> None:
    for row in live:
        if row.kind == "rollout":
            recall(session, row, now_s)
        row.state, row.ended_s, row.reason = "aborted", now_s, "superseded by a rollback"
        audit.record(session, "rollout-aborted", f"rollout {row.id}", now_s=now_s, actor=actor, reason=row.reason)
    session.flush()
