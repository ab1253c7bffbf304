"""How a rollout comes into being: planned, refused, queued or written down, and its first wave sent."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wherry.controller.core import windows
from wherry.controller.core.asked_plan import numbered, version_name
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.members import Standing
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.targeting import Waves, cut
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit, registry
from wherry.controller.operations.carry_out import step
from wherry.controller.operations.entries import add, new_entry
from wherry.controller.operations.fleet import settle
from wherry.controller.operations.overlap import Overlap
from wherry.controller.operations.pins import pins_of
from wherry.controller.operations.requests import Request
from wherry.controller.store.tables import RolloutRow, VersionRow
from wherry.protocol.manifest import Variant, decode_manifest


def variants_of(version: VersionRow) -> tuple[Variant, ...]:
    return decode_manifest(version.manifest).variants


def resolve(session: Session, plan: RolloutPlan) -> tuple[RolloutPlan, VersionRow]:
    """The plan as it stays: with the number of its version, and the queries of its groups.

    Raises NotFound, Invalid for a group that is not there, or Conflict for a version that is retired.
    """
    version = registry.find_version(session, version_name(plan))
    if version.retired_s is not None:
        raise Conflict(
            f"{version.model}:{version.number} is retired", "choose another version, or take it back into use first"
        )
    settled = msgspec.structs.replace(numbered(plan, version.number), target=settle(session, plan.target))
    return settled, version


def plan_waves(
    session: Session,
    plan: RolloutPlan,
    version: VersionRow,
    candidates: Sequence[Candidate],
    *,
    rollout: int | None = None,
    pinned_too: bool = False,
) -> Waves:
    """The waves of the next rollout, or of the one that was queued as `rollout`; pinned devices are set apart.

    Raises Invalid, or Conflict where no device can be sent the version.
    """
    windows.check(plan.windows)
    pins = {} if pinned_too else pins_of(session, plan.slot)
    free = [entry for entry in candidates if entry.device not in pins]
    waves = cut(plan, variants_of(version), free, str(rollout or _next_id(session)))
    pinned = {entry.device: pins[entry.device] for entry in candidates if entry.device in pins}
    apart = waves.apart | pinned
    if not waves.waves:
        device, reason = next(iter(apart.items()))
        more = f"; and {len(apart) - 1} more" if len(apart) > 1 else ""
        what = "no device can run" if waves.apart else "nobody is left to be sent"
        raise Conflict(f"{what} {plan.model}:{plan.version}: {device} {reason}{more}")
    return msgspec.structs.replace(waves, apart=apart)


def launch(
    session: Session,
    plan: RolloutPlan,
    waves: Waves,
    *,
    kind: str,
    paused: bool = False,
    request: Request,
    now_s: float,
    actor: str,
) -> RolloutRow:
    """Write the rollout down and send its first wave, or nothing yet where it begins `paused`."""
    row = _write(session, plan, kind=kind, request=request, now_s=now_s, actor=actor)
    begin(session, row, plan, waves, paused=paused, now_s=now_s, actor=actor)
    return row


def queue(
    session: Session, plan: RolloutPlan, overlap: Overlap, *, request: Request, now_s: float, actor: str
) -> RolloutRow:
    """Write down that the rollout is to begin once the older one has ended."""
    row = _write(session, plan, kind="rollout", request=request, now_s=now_s, actor=actor)
    wait(row, overlap)
    detail = {"version": f"{plan.model}:{plan.version}", "plan": plan, "reason": row.reason}
    audit.record(session, "rollout-queued", f"rollout {row.id}", now_s=now_s, actor=actor, **detail)
    return row


def wait(row: RolloutRow, overlap: Overlap) -> None:
    row.waits_for, row.reason = overlap.rollout, f"waits: {overlap.words}"


def begin(
    session: Session, row: RolloutRow, plan: RolloutPlan, waves: Waves, *, paused: bool, now_s: float, actor: str
) -> tuple[str, ...]:
    """Cut the waves and send the first; the devices that have a new desired document.

    The time that a rollout was queued is not a part of its deadline, so it is as old as its beginning.
    """
    row.state, row.reason, row.waits_for = "paused" if paused else "running", "", None
    row.wave, row.wave_count, row.wave_opened_s, row.created_s = 1, len(waves.waves), now_s, now_s
    for number, wave in enumerate(waves.waves, start=1):
        add(session, [new_entry(row, device, number, place, now_s) for place, device in enumerate(wave)])
    pins = pins_of(session, row.slot)
    apart = []
    for place, (device, reason) in enumerate(waves.apart.items()):
        standing: Standing = "released" if reason == pins.get(device) else "incompatible"
        apart.append(new_entry(row, device, 0, place, now_s, standing, reason))
    add(session, apart)
    version = f"{plan.model}:{plan.version}"
    subject = f"rollout {row.id}"
    audit.record(session, f"{row.kind}-started", subject, now_s=now_s, actor=actor, version=version, plan=plan)
    session.flush()
    return step(session, row, now_s)


def _write(session: Session, plan: RolloutPlan, *, kind: str, request: Request, now_s: float, actor: str) -> RolloutRow:
    row = RolloutRow(
        id=_next_id(session), key=request.key, request=request.digest, kind=kind, model=plan.model,
        version=plan.version, slot=plan.slot, plan=msgspec.json.encode(plan), state="queued", reason="",
        ending="reverted", wave=0, wave_count=0, wave_opened_s=now_s, evidence=b"[]", created_s=now_s, created_by=actor,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def _next_id(session: Session) -> int:
    return (session.scalar(select(func.max(RolloutRow.id))) or 0) + 1
