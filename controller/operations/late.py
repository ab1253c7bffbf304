"""Devices that came to the fleet, or became able, after a rollout was planned."""

from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.targeting import matches
from wherry.controller.operations.fleet import IN_SERVICE, candidate
from wherry.controller.store.tables import DeviceRow, PinRow, RolloutDeviceRow, RolloutRow


def newcomers(session: Session, row: RolloutRow, plan: RolloutPlan) -> list[Candidate]:
    """Whom the target means and the rollout has not, or has set apart as unable; not those that are pinned or taken.

    The database leaves out who is inside already, so that a tick of a full rollout reads nobody.
    """
    outside = [
        *IN_SERVICE,
        *(DeviceRow.id.not_in(away) for away in (_inside(row), _taken(row), _pinned(row))),
    ]
    if plan.target.devices:
        outside.append(DeviceRow.id.in_(plan.target.devices))
    columns = select(DeviceRow.id, DeviceRow.presence, DeviceRow.birth)
    found = map(candidate, session.execute(columns.where(*outside).order_by(DeviceRow.id)))
    return [entry for entry in found if matches(plan.target, entry)]


def _inside(row: RolloutRow) -> Select[Any]:
    entry = RolloutDeviceRow
    able = or_(entry.wave > 0, entry.standing != "incompatible")
    return select(entry.device).where(entry.rollout == row.id, able)


def _taken(row: RolloutRow) -> Select[Any]:
    return (
        select(RolloutDeviceRow.device)
        .join(RolloutRow, RolloutRow.id == RolloutDeviceRow.rollout)
        .where(RolloutRow.state.in_(LIVE), RolloutRow.slot == row.slot, RolloutRow.id != row.id)
        .where(RolloutDeviceRow.wave > 0)
    )


def _pinned(row: RolloutRow) -> Select[Any]:
    return select(PinRow.device).where(PinRow.slot == row.slot)
