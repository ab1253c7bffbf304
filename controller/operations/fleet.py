"""Devices as rollouts are planned over them."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.explain import describe
from wherry.controller.core.plan import Target
from wherry.controller.core.targeting import matches
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.store.tables import DeviceRow
from wherry.protocol.up import Birth, Reported
from wherry.protocol.up.reported import SlotReport

_birth: msgspec.json.Decoder[Birth] = msgspec.json.Decoder(Birth)
_reported: msgspec.json.Decoder[Reported] = msgspec.json.Decoder(Reported)


def find_device(session: Session, device: str) -> DeviceRow:
    """Raises NotFound, also for a removed one."""
    row = session.get(DeviceRow, device)
    if row is None or row.removed_s is not None:
        raise NotFound(f"no device {device!r}", "see `wherry devices` for those known")
    return row


def present(session: Session) -> Sequence[DeviceRow]:
    """Every device that is not removed, by id."""
    return session.scalars(select(DeviceRow).where(DeviceRow.removed_s.is_(None)).order_by(DeviceRow.id)).all()


def birth_of(row: DeviceRow) -> Birth | None:
    return _birth.decode(row.birth) if row.birth is not None else None


def reports_of(row: DeviceRow) -> tuple[SlotReport, ...]:
    return _reported.decode(row.reported).slots if row.reported is not None else ()


def report_of(row: DeviceRow, slot: str) -> SlotReport | None:
    return next((entry for entry in reports_of(row) if entry.slot == slot), None)


def candidate(row: DeviceRow) -> Candidate:
    return Candidate(device=row.id, online=row.presence == "online", birth=birth_of(row))


def aim(session: Session, target: Target) -> list[Candidate]:
    """The devices that the target means. Raises NotFound for a named one, Invalid where it means none."""
    for device in target.devices:
        find_device(session, device)
    found = [entry for entry in map(candidate, present(session)) if matches(target, entry)]
    if not found:
        narrowed = target.labels or target.query
        what = f"no device is {describe(target)}" if narrowed else "the fleet has no devices yet"
        raise Invalid(what, "see `wherry devices`")
    return found
