"""A rollout as it is shown: rows to frozen values."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from wherry.controller.core.gates import GateResult
from wherry.controller.core.members import LIVE, Override
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.errors import NotFound
from wherry.controller.operations.members import assignment
from wherry.controller.store.tables import RolloutDeviceRow, RolloutRow
from wherry.protocol.types import Struct


class DeviceProgress(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`standing` is told apart in `core.standing`; `wave` 0 is set apart, as `reason` says.

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
    """`state`: queued, running, paused, reverting, then one of completed, reverted, held, aborted.

    `kind` is rollout or rollback. `wave` of `wave_count` is open, from 1. `counts` has the devices by
    standing. `live` is False once nothing more happens by itself. `gates` are the last answers, and `overrides`
    those that an operator has overruled. One that is queued `waits_for` another rollout, and has no devices yet.
    `created_s` is when it was begun, or queued as long as it is. `key` is the client's own name for the request,
    and `created` says that this very request made it.
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
    overrides: tuple[Override, ...] = ()
    waits_for: int | None = None
    key: str | None = None
    created: bool = False


def find_rollout(session: Session, rollout: int) -> RolloutRow:
    """Raises NotFound."""
    row = session.get(RolloutRow, rollout)
    if row is None:
        raise NotFound(f"no rollout {rollout}", "see `wherry rollout list`")
    return row


def overrides_of(row: RolloutRow) -> tuple[Override, ...]:
    return msgspec.json.decode(row.overrides, type=tuple[Override, ...])


def view(session: Session, row: RolloutRow, *, devices: bool = True) -> RolloutView:
    """Devices by wave, in the order of sending, those set apart first. Without `devices` they are only counted."""
    entries = _entries(session, row) if devices else ()
    return RolloutView(
        id=row.id,
        kind=row.kind,
        plan=msgspec.json.decode(row.plan, type=RolloutPlan),
        state=row.state,
        live=row.state in (*LIVE, "queued"),
        reason=row.reason,
        wave=row.wave,
        wave_count=row.wave_count,
        wave_opened_s=row.wave_opened_s,
        counts=dict(Counter(entry.standing for entry in entries)) if devices else _counts(session, row),
        created_s=row.created_s,
        created_by=row.created_by,
        ended_s=row.ended_s,
        devices=tuple(_progress(entry) for entry in entries),
        gates=msgspec.json.decode(row.evidence, type=tuple[GateResult, ...]),
        overrides=overrides_of(row),
        waits_for=row.waits_for,
        key=row.key,
    )


def _entries(session: Session, row: RolloutRow) -> Sequence[Row[Any]]:
    entry = RolloutDeviceRow
    wanted: Select[*tuple[Any, ...]] = select(
        entry.device, entry.wave, entry.standing, entry.reason, entry.standing_s, entry.sent, entry.previous,
        entry.restored_s,
    )  # fmt: skip
    return session.execute(wanted.where(entry.rollout == row.id).order_by(entry.wave, entry.position)).all()


def _counts(session: Session, row: RolloutRow) -> dict[str, int]:
    standing = RolloutDeviceRow.standing
    wanted = select(standing, func.count()).where(RolloutDeviceRow.rollout == row.id).group_by(standing)
    return {row[0]: row[1] for row in session.execute(wanted.order_by(standing))}


def _progress(entry: Row[Any]) -> DeviceProgress:
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
