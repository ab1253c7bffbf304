"""How a rollout comes into being: planned, refused or written down, and its first wave sent."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.targeting import Waves, cut
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit
from wherry.controller.operations.carry_out import new_entry, step
from wherry.controller.operations.overlap import refuse_overlap
from wherry.controller.store.tables import RolloutRow, VersionRow
from wherry.protocol.manifest import Variant, decode_manifest


def variants_of(version: VersionRow) -> tuple[Variant, ...]:
    return decode_manifest(version.manifest).variants


def plan_waves(session: Session, plan: RolloutPlan, version: VersionRow, candidates: Sequence[Candidate]) -> Waves:
    """The waves of the next rollout. Raises Invalid, or Conflict where no device can run the version."""
    waves = cut(plan, variants_of(version), candidates, str(_next_id(session)))
    if not waves.waves:
        device, reason = next(iter(waves.apart.items()))
        more = f"; and {len(waves.apart) - 1} more" if len(waves.apart) > 1 else ""
        raise Conflict(f"no device can run {plan.model}:{plan.version}: {device} {reason}{more}")
    refuse_overlap(session, plan.slot, [device for wave in waves.waves for device in wave])
    return waves


def launch(
    session: Session, plan: RolloutPlan, waves: Waves, *, kind: str, paused: bool = False, now_s: float, actor: str
) -> RolloutRow:
    """Write the rollout down and send its first wave, or nothing yet where it begins `paused`."""
    row = RolloutRow(
        id=_next_id(session), kind=kind, model=plan.model, version=plan.version, slot=plan.slot,
        plan=msgspec.json.encode(plan), state="paused" if paused else "running", reason="", ending="reverted",
        wave=1, wave_count=len(waves.waves), wave_opened_s=now_s, evidence=b"[]",
        created_s=now_s, created_by=actor,
    )  # fmt: skip
    session.add(row)
    session.flush()
    for number, wave in enumerate(waves.waves, start=1):
        session.add_all(new_entry(row, device, number, place, now_s) for place, device in enumerate(wave))
    for place, (device, reason) in enumerate(waves.apart.items()):
        entry = new_entry(row, device, 0, place, now_s)
        entry.standing, entry.reason = "incompatible", reason
        session.add(entry)
    version = f"{plan.model}:{plan.version}"
    subject = f"rollout {row.id}"
    audit.record(session, f"{kind}-started", subject, now_s=now_s, actor=actor, version=version, plan=plan)
    session.flush()
    step(session, row, now_s)
    return row


def _next_id(session: Session) -> int:
    return (session.scalar(select(func.max(RolloutRow.id))) or 0) + 1
