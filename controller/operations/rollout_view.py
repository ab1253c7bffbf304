"""A rollout as it is shown: rows to frozen values."""

from collections import Counter

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.gates import GateResult
from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.operations.members import assignment
from wherry.controller.store.tables import RolloutDeviceRow, RolloutRow
from wherry.protocol.types import Struct


class DeviceProgress(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`standing` is told apart in `core.standing`; `wave` 0 is set apart: it cannot run any variant.

    `previous` (`digits:1`) is what is given back on a revert; `restored` tells whether it was.
    """

    device: str
    wave: int
    standing: str
    reason: str
    since_s: float
    variant: str | None
    previous: str | None
    restored: bool


class RolloutView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`state`: running, paused, reverting, then one of completed, reverted, held, aborted.

    `kind` is rollout or rollback. `wave` of `wave_count` is open, from 1. `counts` has the devices by
    standing. `live` is False once nothing more happens by itself. `gates` are the last answers.
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
    gates: tuple[GateResult, ...]


def view(session: Session, row: RolloutRow) -> RolloutView:
    """Devices by wave, in the order of sending, those set apart first."""
    entries = session.scalars(
        select(RolloutDeviceRow)
        .where(RolloutDeviceRow.rollout == row.id)
        .order_by(RolloutDeviceRow.wave, RolloutDeviceRow.position)
    ).all()
    return RolloutView(
        id=row.id,
        kind=row.kind,
        plan=msgspec.json.decode(row.plan, type=RolloutPlan),
        state=row.state,
        live=row.state in LIVE,
        reason=row.reason,
        wave=row.wave,
        wave_count=row.wave_count,
        wave_opened_s=row.wave_opened_s,
        counts=dict(Counter(entry.standing for entry in entries)),
        created_s=row.created_s,
        created_by=row.created_by,
        ended_s=row.ended_s,
        devices=tuple(_progress(entry) for entry in entries),
        gates=msgspec.json.decode(row.evidence, type=tuple[GateResult, ...]),
    )


def _progress(entry: RolloutDeviceRow) -> DeviceProgress:
    sent, previous = assignment(entry.sent), assignment(entry.previous)
    return DeviceProgress(
        device=entry.device,
        wave=entry.wave,
        standing=entry.standing,
        reason=entry.reason,
        since_s=entry.standing_s,
        variant=sent.variant if sent is not None else None,
        previous=str(previous.ref) if previous is not None else None,
        restored=entry.restored_s is not None,
    )
