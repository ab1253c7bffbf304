"""What a version is needed for, in words: why it cannot be retired or deleted.

A device that was removed may come back and be asked for what its document says, so it counts, too.
"""

from collections.abc import Iterable, Iterator

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.members import LIVE
from wherry.controller.operations.documents import assignments
from wherry.controller.operations.fleet import reports_of
from wherry.controller.store.tables import AliasRow, DesiredRow, DeviceRow, RolloutDeviceRow, RolloutRow, VersionRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.types import VersionRef

REVERTIBLE = (*LIVE, "held", "queued")
"""Rollouts that may still send their version, or give back what was before it."""

_assignment: msgspec.json.Decoder[Assignment] = msgspec.json.Decoder(Assignment)

MAX_NAMED = 5


def uses(session: Session, version: VersionRow) -> list[str]:
    """Every use, each as one phrase with the names; empty where nothing needs the version."""
    found = [*alias_uses(session, version), *rollout_uses(session, version, REVERTIBLE)]
    found += _named("a revert would give it back to", _previous(session, version))
    found += _named("wanted on", _wanted(session, version))
    found += _named("reported by", _reported(session, version))
    return found


def alias_uses(session: Session, version: VersionRow) -> list[str]:
    wanted = select(AliasRow.alias).where(AliasRow.model == version.model, AliasRow.version == version.number)
    return _named(
        "named by", (f"{version.model}@{alias}" for alias in session.scalars(wanted.order_by(AliasRow.alias)))
    )


def rollout_uses(session: Session, version: VersionRow, states: tuple[str, ...] = (*LIVE, "queued")) -> list[str]:
    wanted = select(RolloutRow).where(RolloutRow.model == version.model, RolloutRow.version == version.number)
    rows = session.scalars(wanted.where(RolloutRow.state.in_(states)).order_by(RolloutRow.id))
    return [f"rollout {row.id} of it is {row.state}" for row in rows]


def _previous(session: Session, version: VersionRow) -> Iterator[str]:
    entry = RolloutDeviceRow
    rows = session.execute(
        select(entry.device, entry.rollout, entry.previous)
        .join(RolloutRow, RolloutRow.id == entry.rollout)
        .where(RolloutRow.state.in_(REVERTIBLE), entry.previous.is_not(None))
        .order_by(entry.rollout, entry.device)
    )
    for row in rows:
        if _is(_assignment.decode(row.previous), version):
            yield f"{row.device} in rollout {row.rollout}"


def _wanted(session: Session, version: VersionRow) -> Iterator[str]:
    for row in session.scalars(select(DesiredRow).order_by(DesiredRow.device)):
        if any(_is(entry, version) for entry in assignments(row.slots)):
            yield row.device


def _reported(session: Session, version: VersionRow) -> Iterator[str]:
    for row in session.scalars(select(DeviceRow).where(DeviceRow.reported.is_not(None)).order_by(DeviceRow.id)):
        slots = reports_of(row)
        if any(_is(ref, version) for slot in slots for ref in (slot.serving, slot.candidate) if ref is not None):
            yield row.id


def _is(found: Assignment | VersionRef, version: VersionRow) -> bool:
    return (found.model, found.version) == (version.model, version.number)


def _named(what: str, names: Iterable[str]) -> list[str]:
    """`wanted on pi-1, pi-2 and 3 more`; nothing without names."""
    listed = list(names)
    if not listed:
        return []
    more = f" and {len(listed) - MAX_NAMED} more" if len(listed) > MAX_NAMED else ""
    return [f"{what} {', '.join(listed[:MAX_NAMED])}{more}"]
