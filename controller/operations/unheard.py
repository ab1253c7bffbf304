"""Whose reports a rollout waits for, and may have lost: a broker drops what does not fit into a queue."""

from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, or_, select

from wherry.controller.core.members import LIVE, Standing
from wherry.controller.core.standing import AT_REST
from wherry.controller.operations.fleet import IN_SERVICE
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DeviceRow, RolloutDeviceRow, RolloutRow
from wherry.protocol.up import Reported

OPEN: tuple[Standing, ...] = ("sent", "in-progress", "silent")
"""A silent device may have said long ago that it committed."""

_reported: msgspec.json.Decoder[Reported] = msgspec.json.Decoder(Reported)


def missing_reports(db: Database, *, before_s: float) -> list[str]:
    """Devices of live rollouts that have had something to do since `before_s`, and have not said that it is done.

    They were sent the version, or it is being taken back from them.
    """
    entry, device, rollout = RolloutDeviceRow, DeviceRow, RolloutRow
    ahead = and_(entry.restored_s.is_(None), entry.sent_s <= before_s, entry.standing.in_(OPEN))
    back = and_(entry.restored_s <= before_s, rollout.state == "reverting", entry.standing != "released")
    found: Select[*tuple[Any, ...]] = (
        select(
            entry.device, entry.restored_s, entry.restored_epoch, entry.restored_generation,
            device.reported, device.reported_epoch, device.reported_generation, rollout.slot,
        )
        .join(rollout, rollout.id == entry.rollout)
        .join(device, device.id == entry.device)
        .where(rollout.state.in_(LIVE), or_(ahead, back), *IN_SERVICE)
    )  # fmt: skip
    with db.read() as session:
        return sorted({row.device for row in session.execute(found) if row.restored_s is None or not _is_back(row)})


def _is_back(row: Row[Any]) -> bool:
    """It has accepted that the version is taken back, and tries nothing any more."""
    accepted = (row.reported_epoch, row.reported_generation)
    if row.reported is None or accepted < (row.restored_epoch, row.restored_generation):
        return False
    slots = _reported.decode(row.reported).slots
    return any(entry.slot == row.slot and entry.phase in AT_REST for entry in slots)
