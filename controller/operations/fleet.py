"""Devices as rollouts are planned over them."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.explain import describe
from wherry.controller.core.plan import Target
from wherry.controller.core.query import expand
from wherry.controller.core.targeting import matches
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.store.tables import DeviceRow, GroupRow
from wherry.protocol.up import Birth, Reported
from wherry.protocol.up.reported import SlotReport

KEPT_DECODED = 200_000
"""Two for every device of the largest fleet that one controller is measured with."""

_decoder: msgspec.json.Decoder[Birth] = msgspec.json.Decoder(Birth)
_reported: msgspec.json.Decoder[Reported] = msgspec.json.Decoder(Reported)


class FleetRow(Protocol):
    """What is read of a device to see whether it is meant: a `DeviceRow`, or those columns alone."""

    id: str
    presence: str
    birth: bytes | None


def find_known(session: Session, device: str) -> DeviceRow:
    """Also a removed one. Raises NotFound where it never was."""
    row = session.get(DeviceRow, device)
    if row is None:
        raise NotFound(f"no device {device!r}", "see `wherry devices` for those known")
    return row


def find_device(session: Session, device: str) -> DeviceRow:
    """Raises NotFound, also for a removed one."""
    row = find_known(session, device)
    if row.removed_s is not None:
        raise NotFound(f"no device {device!r}", "see `wherry devices` for those known")
    return row


IN_SERVICE = (DeviceRow.removed_s.is_(None), DeviceRow.decommissioned_s.is_(None))
"""Neither removed nor decommissioned: whom rollouts, targets and documents are for."""


def meant(session: Session, target: Target) -> Iterator[Candidate]:
    """Those of the devices in service that the target means, by id."""
    settled = settle(session, target)
    wanted = select(DeviceRow.id, DeviceRow.presence, DeviceRow.birth).where(*IN_SERVICE).order_by(DeviceRow.id)
    if settled.devices:
        wanted = wanted.where(DeviceRow.id.in_(settled.devices))
    for row in session.execute(wanted):
        entry = candidate(row)
        if matches(settled, entry):
            yield entry


def birth_of(row: FleetRow | Row[Any]) -> Birth | None:
    return decode_birth(row.birth) if row.birth is not None else None


def reports_of(row: DeviceRow | Row[Any]) -> tuple[SlotReport, ...]:
    return _reported.decode(row.reported).slots if row.reported is not None else ()


def report_of(row: DeviceRow | Row[Any], slot: str) -> SlotReport | None:
    return next((entry for entry in reports_of(row) if entry.slot == slot), None)


def candidate(row: FleetRow | Row[Any]) -> Candidate:
    return Candidate(device=row.id, online=row.presence == "online", birth=birth_of(row))


def settle(session: Session, target: Target) -> Target:
    """The target with the queries of its groups in their places, which means the same whatever becomes of the groups.

    Raises Invalid for a group that is not there.
    """
    if "@" not in target.query:
        return target
    saved = {row.name: row.query for row in session.execute(select(GroupRow.name, GroupRow.query))}
    return msgspec.structs.replace(target, query=expand(target.query, saved))


def aim(session: Session, target: Target) -> list[Candidate]:
    """The devices that the target means.

    Raises NotFound for a named one, Conflict for one that is decommissioned, Invalid where it means none.
    """
    for device in target.devices:
        _check_in_service(find_device(session, device))
    found = list(meant(session, target))
    if not found:
        narrowed = target.labels or target.query
        what = f"no device is {describe(target)}" if narrowed else "the fleet has no devices yet"
        raise Invalid(what, "see `wherry devices`")
    return found


def without_gone(session: Session, target: Target) -> Target:
    """The named devices that are still in service; the target as it is where nobody is named, or nobody is left."""
    if not target.devices:
        return target
    named = select(DeviceRow.id).where(*IN_SERVICE, DeviceRow.id.in_(target.devices))
    left = set(session.scalars(named))
    kept = tuple(device for device in target.devices if device in left)
    return msgspec.structs.replace(target, devices=kept) if kept else target


def _check_in_service(row: DeviceRow) -> None:
    if row.decommissioned_s is not None:
        raise Conflict(f"{row.id} is decommissioned", f"take it in again first: wherry devices recommission {row.id}")


@lru_cache(KEPT_DECODED)
def decode_birth(body: bytes) -> Birth:
    """What a device has said of itself seldom changes, and every plan reads it."""
    return _decoder.decode(body)
