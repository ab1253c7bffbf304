"""The rows of a rollout's devices: read, added and changed for many at once.

Rules upheld here:
- A few statements for all of them, however many there are, or opening a wave holds up the fleet.
- Rows and not objects, which cost several times as much. So whoever holds a `RolloutDeviceRow` in the same transaction
  does not see what is changed here, and what it has changed itself must have been flushed before.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from wherry.controller.core.members import Standing
from wherry.controller.store.rows import rows_by
from wherry.controller.store.tables import RolloutDeviceRow, RolloutRow

Entry = Row[Any]
"""A row of `COLUMNS`."""

_row = RolloutDeviceRow

COLUMNS: tuple[InstrumentedAttribute[Any], ...] = (
    _row.device, _row.wave, _row.standing, _row.standing_s, _row.sent, _row.previous, _row.before, _row.attempts,
    _row.restored_s,
)  # fmt: skip


def entries_of(session: Session, row: RolloutRow, devices: Iterable[str]) -> dict[str, Entry]:
    """Those of the devices that the rollout has, by name."""
    return rows_by(session, select(*COLUMNS).where(_row.rollout == row.id), _row.device, devices)


def new_entry(
    row: RolloutRow,
    device: str,
    wave: int,
    position: int,
    now_s: float,
    standing: Standing = "waiting",
    reason: str = "",
) -> dict[str, Any]:
    return {
        "rollout": row.id, "device": device, "wave": wave, "position": position, "standing": standing, "reason": reason,
        "standing_s": now_s, "attempts": 0, "sent_epoch": 0, "sent_generation": 0, "restored_epoch": 0,
        "restored_generation": 0,
    }  # fmt: skip


def add(session: Session, entries: Sequence[Mapping[str, Any]]) -> None:
    """Each made by `new_entry`."""
    if entries:
        session.execute(insert(_row), entries)


def change(session: Session, row: RolloutRow, changes: Iterable[Mapping[str, Any]]) -> None:
    """Each has the device, and new values of some columns: the same ones in all of them."""
    told = [{"rollout": row.id, **entry} for entry in changes]
    if told:
        session.execute(update(_row), told)
