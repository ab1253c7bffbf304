"""Rollouts: begun, watched and stopped by an operator, carried on by `tick`.

The engine (`core.rollout`) decides from the rows alone; what it decides is carried out in the
transaction that the rows were read in. So a controller killed at any moment carries on, and a tick
that is run again finds nothing left to do.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core import explain as text
from wherry.controller.core.members import LIVE
from wherry.controller.core.outlook import Outlook, planned_waves
from wherry.controller.core.plan import OnAbort, RolloutPlan
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit
from wherry.controller.operations.carry_out import recall, step
from wherry.controller.operations.fleet import aim
from wherry.controller.operations.launch import launch, plan_waves, queue, resolve, variants_of
from wherry.controller.operations.live_blobs import live_blobs
from wherry.controller.operations.overlap import Overlap, live_overlap, queued_overlap, refuse
from wherry.controller.operations.queued import begin_if_free, due
from wherry.controller.operations.release import leave_moved_on
from wherry.controller.operations.requests import find_same, request_of
from wherry.controller.operations.rollout_view import DeviceProgress, RolloutView, find_rollout, view
from wherry.controller.store.database import Database
from wherry.controller.store.tables import RolloutRow

__all__ = [
    "DeviceProgress", "RolloutView", "abort", "explain", "get_rollout", "list_rollouts",
    "live_blobs", "pause", "resume", "start", "tick",
]  # fmt: skip

_log = structlog.get_logger(__name__)


def start(
    db: Database, plan: RolloutPlan, *, paused: bool = False, key: str | None = None, now_s: float, actor: str
) -> RolloutView:
    """Plan and begin a rollout; the first wave is sent in the same transaction, unless `paused`.

    An `AskedPlan` may name its version by an alias, or mean the newest. The same request with the same `key` again
    is the same rollout, with `created` False. Where an older rollout has one of the devices in the slot, it is
    queued if the plan says so; one that is to begin paused is refused.
    Raises NotFound for the version or a named device, Invalid where the target is empty or the waves do not reach
    all of it, Conflict where it overlaps with another one, the version is retired, no device can run it (with the
    reasons), or the key was used for another request.
    """
    request = request_of(key, "rollout", plan, paused)
    with db.write() as session:
        known = find_same(session, request)
        if known is not None:
            return view(session, known)
        plan, version = resolve(session, plan)
        waves = plan_waves(session, plan, version, aim(session, plan.target))
        overlap = _overlap(session, plan, waves.waves)
        if overlap is not None and plan.on_overlap == "queue" and not paused:
            row = queue(session, plan, overlap, request=request, now_s=now_s, actor=actor)
        else:
            refuse(overlap)
            row = launch(session, plan, waves, kind="rollout", paused=paused, request=request, now_s=now_s, actor=actor)
        return msgspec.structs.replace(view(session, row), created=True)


def explain(db: Database, plan: RolloutPlan, *, now_s: float | None = None, max_lines: int | None = None) -> Outlook:
    """What `start` would do at `now_s`; its text names `max_lines` devices of a wave. Raises what `start` would."""
    with db.read() as session:
        plan, version = resolve(session, plan)
        candidates = aim(session, plan.target)
        waves = plan_waves(session, plan, version, candidates)
        overlap = _overlap(session, plan, waves.waves)
        if plan.on_overlap == "refuse":
            refuse(overlap)
        variants = variants_of(version)
        words = text.explain(plan, variants, candidates, waves, now_s=now_s, max_lines=max_lines)
        return Outlook(
            text=words if overlap is None else f"{words}queued until it has ended: {overlap.words}\n",
            plan=plan,
            waves=planned_waves(plan, variants, candidates, waves, now_s=now_s),
            apart=waves.apart,
            waits_for=overlap.rollout if overlap is not None else None,
        )


def pause(db: Database, rollout: int, *, now_s: float, actor: str) -> RolloutView:
    """Send and promote nothing more; a breach still acts, and deadlines still run.

    Idempotent. Raises NotFound, or Conflict once it is being taken back or has ended.
    """
    return _switch(db, rollout, "paused", now_s=now_s, actor=actor)


def resume(db: Database, rollout: int, *, now_s: float, actor: str) -> RolloutView:
    """Carry on after `pause`. Idempotent. Raises NotFound, or Conflict once it has ended."""
    return _switch(db, rollout, "running", now_s=now_s, actor=actor)


def abort(db: Database, rollout: int, *, restore: OnAbort, reason: str = "", now_s: float, actor: str) -> RolloutView:
    """Stop for good: `revert` gives back what was there before, `keep` does so where it has not settled.

    So nobody begins or finishes later, when no gate watches any more. `revert` is from every wave, also where only
    the last one is being taken back so far. Idempotent; a held rollout can still be reverted, but for devices that
    have moved on since: they are named in the reason. One that is queued just ends. Raises NotFound, or Conflict
    where it ended otherwise, or all have moved on.
    """
    with db.write() as session:
        row = find_rollout(session, rollout)
        under_way = row.state == "reverting" and restore == "revert" and row.restore_from == 1
        if row.state == "aborted" or under_way:
            return view(session, row)
        if row.state in ("completed", "reverted"):
            raise Conflict(f"rollout {rollout} has ended {row.state}", f"use `wherry rollback {row.model}`")
        state, row.reason = row.state, f"aborted by {actor}{f': {reason}' if reason else ''}"
        if restore == "revert" and state != "queued":
            _take_back(session, row, now_s)
        else:
            if state in LIVE:
                recall(session, row, now_s)
            row.state, row.ended_s = "aborted", now_s
        detail = {"restore": restore, "reason": reason} if reason else {"restore": restore}
        audit.record(session, "rollout-aborted", f"rollout {rollout}", now_s=now_s, actor=actor, **detail)
        return view(session, row)


def tick(db: Database, *, now_s: float) -> tuple[str, ...]:
    """Carry every live rollout on by what is known now, then begin queued ones that are free.

    Returns the devices that have a new desired document. Run at every event, and once a second. A rollout that
    cannot be carried on holds up no other: what it raised is raised when all have had their turn and are committed.
    """
    devices: list[str] = []
    failures: list[Exception] = []
    with db.write() as session:
        for rows, turn in ((_live, step), (due, begin_if_free)):
            for number, row in [(row.id, row) for row in rows(session)]:
                try:
                    with session.begin_nested():
                        devices += turn(session, row, now_s)
                except Exception as error:  # noqa: BLE001 - one damaged rollout must not stop the others
                    _log.error("a rollout cannot be carried on", rollout=number, error=str(error))
                    failures.append(error)
    if failures:
        raise failures[0]
    return tuple(devices)


def get_rollout(db: Database, rollout: int) -> RolloutView:
    """Raises NotFound."""
    with db.read() as session:
        return view(session, find_rollout(session, rollout))


def list_rollouts(
    db: Database,
    *,
    state: str | None = None,
    kind: str | None = None,
    model: str | None = None,
    slot: str | None = None,
    before_id: int | None = None,
    max_rollouts: int = 100,
    devices: bool = True,
) -> list[RolloutView]:
    """Newest first; of one state, kind, model and slot, where those are given. Without `devices` they are counted."""
    wanted = select(RolloutRow).order_by(RolloutRow.id.desc()).limit(max_rollouts)
    filters = (RolloutRow.state, state), (RolloutRow.kind, kind), (RolloutRow.model, model), (RolloutRow.slot, slot)
    for column, value in filters:
        if value is not None:
            wanted = wanted.where(column == value)
    if before_id is not None:
        wanted = wanted.where(RolloutRow.id < before_id)
    with db.read() as session:
        return [view(session, row, devices=devices) for row in session.scalars(wanted).all()]


def _live(session: Session) -> Sequence[RolloutRow]:
    return session.scalars(select(RolloutRow).where(RolloutRow.state.in_(LIVE)).order_by(RolloutRow.id)).all()


def _overlap(session: Session, plan: RolloutPlan, waves: Iterable[Iterable[str]]) -> Overlap | None:
    devices = {device for wave in waves for device in wave}
    return live_overlap(session, plan.slot, devices) or queued_overlap(session, plan.slot, devices)


def _take_back(session: Session, row: RolloutRow, now_s: float) -> None:
    if row.state == "held":  # devices of one that is live are given nothing else
        told = leave_moved_on(session, row, now_s)
        row.reason += f"; left out, since they were given something else: {told}" if told else ""
    row.state, row.ending, row.ended_s, row.restore_from = "reverting", "aborted", None, 1
    step(session, row, now_s)


def _switch(
    db: Database, rollout: int, state: Literal["running", "paused"], *, now_s: float, actor: str
) -> RolloutView:
    with db.write() as session:
        row = find_rollout(session, rollout)
        if row.state not in ("running", "paused"):
            waits = f"it begins by itself, or is ended with `wherry rollout abort {rollout}`"
            fix = waits if row.state == "queued" else "start another one"
            raise Conflict(f"rollout {rollout} is {row.state}: {row.reason}", fix)
        if row.state != state:
            row.state, row.reason = state, ""
            audit.record(session, f"rollout-{state}", f"rollout {rollout}", now_s=now_s, actor=actor)
            step(session, row, now_s)
        return view(session, row)
