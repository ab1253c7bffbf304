"""The operator's way back: a whole fleet, or a part of it, to one version, at once, in one command."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import FULL_FLEET, RolloutPlan, Target
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit
from wherry.controller.operations.carry_out import recall
from wherry.controller.operations.documents import assignment_of
from wherry.controller.operations.fleet import aim, report_of, settle
from wherry.controller.operations.launch import launch, plan_waves, resolve
from wherry.controller.operations.overlap import live_overlap, refuse
from wherry.controller.operations.release import release
from wherry.controller.operations.requests import find_same, request_of
from wherry.controller.operations.rollout_view import RolloutView, view
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, DeviceRow, RolloutDeviceRow, RolloutRow

DEADLINE_S = 3600.0


def rollback(
    db: Database,
    model: str,
    version: int | None = None,
    *,
    slot: str = "main",
    target: Target | None = None,
    device_deadline_s: float = DEADLINE_S,
    pinned: bool = False,
    key: str | None = None,
    now_s: float,
    actor: str,
) -> RolloutView:
    """Assign `version` to every device of the target that has the model in the slot, without waves.

    Without a version: the one that the fleet ran before, that is the newest earlier rollout that
    was completed with another version; refused where the last thing was a rollback, so that the command
    given again never leads forward to the version that was left. In the same transaction live and queued rollouts
    of the model and slot are aborted; with a target, its devices are taken out of them, and they go on for the
    others. Pinned devices stay as they are, unless `pinned` says that they are meant too. What comes back is a
    rollout of the kind `rollback`: one wave, no gates but the deadline, to be watched like any other; devices
    that cannot run the version, or have it in quarantine, are in it with the reason. Idempotent: a live
    rollback of the same target to the same version is returned, and so is that of the same `key`.
    Raises NotFound, or Conflict where there is nothing to go back to, the version is retired, or another model's
    rollout has one of the devices and the slot.
    """
    aimed = target or Target()
    request = request_of(key, "rollback", model, version, slot, aimed, device_deadline_s, pinned)
    with db.write() as session:
        pending = _pending(session, model, slot)
        aimed = settle(session, aimed)
        same = find_same(session, request) or _same(session, pending, version, aimed)
        if same is not None:
            return view(session, same)
        number = version if version is not None else _version_before(session, model, slot)
        plan, found = resolve(session, _plan(model, number, slot, aimed, device_deadline_s))
        meant = aim(session, aimed)
        candidates = _having(session, meant, model, slot)
        if not candidates:
            raise Conflict(
                f"no device of the target has {model!r} in slot {slot!r}", f"use `wherry rollout start {model}`"
            )
        plan = msgspec.structs.replace(plan, max_failures=len(candidates))
        _make_way(session, pending, None if target is None else {entry.device for entry in meant}, now_s, actor)
        waves = plan_waves(session, plan, found, candidates, pinned_too=pinned)
        refuse(live_overlap(session, slot, waves.waves[0]))
        row = launch(session, plan, waves, kind="rollback", request=request, now_s=now_s, actor=actor)
        return msgspec.structs.replace(view(session, row), created=True)


def _plan(model: str, number: int, slot: str, target: Target, device_deadline_s: float) -> RolloutPlan:
    """One wave for everybody, in which nothing is to be a breach but that nobody at all commits."""
    return RolloutPlan(
        model=model,
        version=number,
        slot=slot,
        target=target,
        waves=FULL_FLEET,
        soak_s=0.0,
        min_inferences=0,
        max_error_share=1.0,
        max_crash_share=None,
        max_lost_share=None,
        device_deadline_s=device_deadline_s,
        on_breach="hold",
    )


def _pending(session: Session, model: str, slot: str) -> list[RolloutRow]:
    """Live and queued rollouts of the model and slot, newest first."""
    wanted = select(RolloutRow).where(RolloutRow.model == model, RolloutRow.slot == slot)
    return list(session.scalars(wanted.where(RolloutRow.state.in_((*LIVE, "queued"))).order_by(RolloutRow.id.desc())))


def _same(session: Session, pending: list[RolloutRow], version: int | None, target: Target) -> RolloutRow | None:
    """The live rollback that this would repeat: of the same target, with all of its devices still in it."""
    for row in pending:
        alike = row.kind == "rollback" and version in (None, row.version)
        if alike and msgspec.json.decode(row.plan, type=RolloutPlan).target == target:
            return None if _has_released(session, row) else row
    return None


def _has_released(session: Session, row: RolloutRow) -> bool:
    entry = RolloutDeviceRow
    gone = select(entry.device).where(entry.rollout == row.id, entry.standing == "released", entry.sent.is_not(None))
    return session.scalars(gone.limit(1)).first() is not None


def _version_before(session: Session, model: str, slot: str) -> int:
    """The current version is that of the newest rollout not, or not everywhere, taken back; before it, the last
    completed other.

    After a rollback nothing is before: it would be the version that was just left. Raises Conflict.
    """
    wanted = select(RolloutRow).where(RolloutRow.model == model, RolloutRow.slot == slot)
    begun = wanted.where(RolloutRow.state != "queued").order_by(RolloutRow.id.desc())
    rows = [row for row in session.scalars(begun) if _has_stayed(session, row)]
    if rows and rows[0].kind == "rollback":
        raise Conflict(
            f"{model!r} was rolled back last, to {model}:{rows[0].version}",
            f"name the version to go elsewhere: wherry rollback {model} --to {rows[0].version}",
        )
    for row in rows[1:]:
        if row.state == "completed" and row.version != rows[0].version:
            return row.version
    raise Conflict(f"{model!r} has no earlier completed rollout", f"name the version: wherry rollback {model} --to 1")


def _has_stayed(session: Session, row: RolloutRow) -> bool:
    """Devices run its version, or are on their way from it: it is what is to be left."""
    if row.state not in ("aborted", "reverted"):
        return True
    entry = RolloutDeviceRow
    kept = select(entry.device).where(entry.rollout == row.id, entry.wave > 0, entry.standing == "committed")
    return session.scalars(kept.where(entry.restored_s.is_(None)).limit(1)).first() is not None


def _having(session: Session, meant: list[Candidate], model: str, slot: str) -> list[Candidate]:
    """Those that were asked to run the model in the slot, or say that they do."""
    found: Select[*tuple[Any, ...]] = (
        select(DeviceRow.id, DeviceRow.reported, DesiredRow.slots)
        .join(DesiredRow, DesiredRow.device == DeviceRow.id, isouter=True)
        .where(DeviceRow.removed_s.is_(None))
    )
    having = {row.id for row in session.execute(found) if _has(row, model, slot)}
    return [entry for entry in meant if entry.device in having]


def _has(row: Row[Any], model: str, slot: str) -> bool:
    asked = assignment_of(row.slots, slot)
    if asked is not None and asked.model == model:
        return True
    report = report_of(row, slot)
    return report is not None and report.serving is not None and report.serving.model == model


def _make_way(
    session: Session, pending: list[RolloutRow], devices: Collection[str] | None, now_s: float, actor: str
) -> None:
    """Take the devices out of what is under way; None ends it for everybody."""
    reason = f"taken out by a rollback of {actor}"
    for row in pending:
        if devices is None or not release(session, row, devices, reason, now_s=now_s, actor=actor):
            _supersede(session, row, now_s=now_s, actor=actor)
    session.flush()


def _supersede(session: Session, row: RolloutRow, *, now_s: float, actor: str) -> None:
    if row.kind == "rollout" and row.state in LIVE:
        recall(session, row, now_s)
    row.state, row.ended_s, row.reason = "aborted", now_s, "superseded by a rollback"
    audit.record(session, "rollout-aborted", f"rollout {row.id}", now_s=now_s, actor=actor, reason=row.reason)
