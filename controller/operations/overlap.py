"""Two rollouts never move the same slot of the same device: the younger is refused, or waits.

Rules upheld here:
- A rollout that is queued keeps its place: younger ones that share a device with it wait for it, or are refused.
- A rollback waits for nobody who is queued.
"""

from collections.abc import Collection, Iterator
from typing import Any

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.errors import Conflict, UserError
from wherry.controller.operations.documents import assignment_of
from wherry.controller.operations.entries import COLUMNS, Entry
from wherry.controller.operations.fleet import IN_SERVICE, aim, without_gone
from wherry.controller.operations.members import assignment
from wherry.controller.store.tables import DesiredRow, DeviceRow, RolloutDeviceRow, RolloutRow
from wherry.protocol.types import Struct


class Overlap(Struct, frozen=True, kw_only=True):
    """The older rollout, and in words on which devices."""

    rollout: int
    words: str


def live_overlap(session: Session, slot: str, devices: Collection[str]) -> Overlap | None:
    """The oldest live rollout that has one of the devices in `slot`."""
    rows = session.execute(
        select(RolloutRow, RolloutDeviceRow.device)
        .join(RolloutDeviceRow, RolloutDeviceRow.rollout == RolloutRow.id)
        .where(RolloutRow.state.in_(LIVE), RolloutRow.slot == slot, RolloutDeviceRow.wave > 0)
        .order_by(RolloutRow.id, RolloutDeviceRow.device)
    )
    wanted = set(devices)
    taken: dict[int, tuple[RolloutRow, list[str]]] = {}
    for rollout, device in rows:
        if device in wanted:
            taken.setdefault(rollout.id, (rollout, []))[1].append(device)
    return _overlap(*next(iter(taken.values()))) if taken else None


def queued_overlap(session: Session, slot: str, devices: Collection[str], before: int | None = None) -> Overlap | None:
    """The oldest queued rollout, older than `before`, that means one of the devices in `slot`."""
    queued = select(RolloutRow).where(RolloutRow.state == "queued", RolloutRow.slot == slot).order_by(RolloutRow.id)
    wanted = set(devices)
    for row in session.scalars(queued).all():
        if before is not None and row.id >= before:
            break
        shared = sorted(wanted.intersection(meant(session, row)))
        if shared:
            return _overlap(row, shared)
    return None


def refuse(overlap: Overlap | None) -> None:
    """Raises Conflict where there is one."""
    if overlap is not None:
        raise Conflict(overlap.words, f"wait for it, or end it with `wherry rollout abort {overlap.rollout}`")


def refuse_moved_on(session: Session, row: RolloutRow) -> None:
    """Raises Conflict where one of the rollout's devices has been asked for something else since."""
    moved, _ = moved_on(session, row)
    if moved:
        raise Conflict(
            f"{moved[0].device} was given something else since rollout {row.id} was {row.state}",
            f"use `wherry rollback {row.model}`",
        )


def moved_on(session: Session, row: RolloutRow) -> tuple[list[Entry], list[Entry]]:
    """Of the devices in service that were sent the version: those asked for something else since, and the others."""
    sent: Select[*tuple[Any, ...]] = (
        select(*COLUMNS, DesiredRow.slots)
        .join(DeviceRow, DeviceRow.id == RolloutDeviceRow.device)
        .join(DesiredRow, DesiredRow.device == RolloutDeviceRow.device, isouter=True)
        .where(RolloutDeviceRow.rollout == row.id, RolloutDeviceRow.sent.is_not(None), RolloutDeviceRow.wave > 0)
        .where(*IN_SERVICE)
        .order_by(RolloutDeviceRow.wave, RolloutDeviceRow.position)
    )
    moved: list[Entry] = []
    stayed: list[Entry] = []
    for entry in session.execute(sent):
        left = entry.sent if entry.restored_s is None else entry.previous
        (stayed if assignment_of(entry.slots, row.slot) == assignment(left) else moved).append(entry)
    return moved, stayed


def released(session: Session, row: RolloutRow) -> set[str]:
    """Devices that were taken out of a rollout which has not begun."""
    return set(session.scalars(select(RolloutDeviceRow.device).where(RolloutDeviceRow.rollout == row.id)))


def meant(session: Session, row: RolloutRow) -> Iterator[str]:
    """The devices that a queued rollout means now."""
    try:
        found = aim(session, without_gone(session, msgspec.json.decode(row.plan, type=RolloutPlan).target))
    except UserError:  # it means nobody any more, and will be told so when its turn comes
        return
    away = released(session, row)
    yield from (entry.device for entry in found if entry.device not in away)


def _overlap(row: RolloutRow, devices: list[str]) -> Overlap:
    more = f" and {len(devices) - 1} more" if len(devices) > 1 else ""
    told = f"rollout {row.id} of {row.model}:{row.version} is {row.state} on {devices[0]}{more}"
    return Overlap(rollout=row.id, words=told if row.state != "queued" else told.replace("queued on", "queued for"))
