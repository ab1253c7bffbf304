"""Devices as an operator sees them: what they are, what they run, how it went, what they said."""

from collections.abc import Callable
from itertools import islice
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from wherry.controller.core.plan import Target
from wherry.controller.core.targeting import matches
from wherry.controller.core.version_name import parse_version
from wherry.controller.operations import audit
from wherry.controller.operations.documents import Orders, assignments
from wherry.controller.operations.fleet import (
    IN_SERVICE,
    birth_of,
    candidate,
    find_device,
    find_known,
    reports_of,
    settle,
)
from wherry.controller.operations.readings import Reading, readings
from wherry.controller.operations.registry import find_version
from wherry.controller.operations.release import withdraw
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, DeviceRow, EventRow, LogRow, TelemetryRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth, Event
from wherry.protocol.up.log import Level
from wherry.protocol.up.reported import SlotReport
from wherry.protocol.up.telemetry import SystemReading

Listed = Literal["online", "offline", "lost", "decommissioned"]

DEFAULT_PERIOD_S = 3600.0
DEFAULT_LINES = 200
MAX_REVERTS = 100
"""Of one device, the newest: one that reverts all day must not make its page endless."""


class DeviceView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`in_step`: the device has accepted the newest desired document.

    One that is decommissioned stays away from rollouts, although it may speak.
    """

    id: str
    presence: str
    first_seen_s: float
    last_seen_s: float
    birth: Birth | None
    slots: tuple[SlotReport, ...]
    desired: tuple[Assignment, ...]
    in_step: bool
    presence_s: float
    decommissioned_s: float | None = None


class Revert(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A version that the device refused (`rejected`) or took back (`reverted`) by itself."""

    slot: str
    model: str
    version: int
    result: str
    reason: str
    at_s: float
    received_s: float


class DeviceDetail(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`events` are the newest, newest first; `reverts` the newest, oldest first; `system` the newest.

    `readings` are by slot and version.
    """

    device: DeviceView
    readings: tuple[Reading, ...]
    reverts: tuple[Revert, ...]
    events: tuple[Event, ...]
    system: SystemReading | None


class LogView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`id` grows with arrival: ask for what came `after_id`."""

    id: int
    device: str
    received_s: float
    at_s: float
    level: str
    event: str
    fields: dict[str, str]


def list_devices(
    db: Database,
    target: Target | None = None,
    *,
    presence: Listed | None = None,
    serving: str | None = None,
    after: str = "",
    limit: int | None = None,
) -> list[DeviceView]:
    """By id: those in service, or, asked for by that presence, the decommissioned ones; removed ones never.

    Of those the ones that `target` means and that serve `digits`, `digits:3` or `digits@stable`, in any slot; those
    `after` an id, `limit` of them. Raises Invalid for a query, NotFound for an alias.
    """
    with db.read() as session:
        wanted = settle(session, target) if target is not None else None
        serves = _serves(session, serving) if serving is not None else None
        found = (
            _view(row)
            for row in session.execute(_rows(presence).where(DeviceRow.id > after).order_by(DeviceRow.id))
            if (wanted is None or matches(wanted, candidate(row))) and (serves is None or serves(row))
        )
        return list(islice(found, limit))


def get_device(
    db: Database, device: str, *, now_s: float, period_s: float = DEFAULT_PERIOD_S, max_events: int = 100
) -> DeviceDetail:
    """Readings are of the windows received in the last `period_s`. Raises NotFound."""
    with db.read() as session:
        row = find_device(session, device)
        recent = select(TelemetryRow).where(TelemetryRow.device == device, TelemetryRow.received_s >= now_s - period_s)
        windows = session.scalars(recent.order_by(TelemetryRow.id)).all()
        return DeviceDetail(
            device=device_view(session, row.id),
            readings=readings(windows),
            reverts=_reverts(session, device),
            events=_newest_events(session, device, max_events),
            system=_newest_system(session, device),
        )


def list_events(
    db: Database, device: str, *, before_id: int | None = None, max_events: int = 100
) -> list[tuple[int, Event]]:
    """What happened, newest first, each with its number in the order of arrival. Raises NotFound."""
    newest = select(EventRow.id, EventRow.body).order_by(EventRow.id.desc()).limit(max_events)
    if before_id is not None:
        newest = newest.where(EventRow.id < before_id)
    with db.read() as session:
        rows = session.execute(newest.where(EventRow.device == find_device(session, device).id))
        return [(number, msgspec.json.decode(body, type=Event)) for number, body in rows]


def get_logs(
    db: Database,
    device: str | None = None,
    *,
    after_id: int | None = None,
    level: Level = "debug",
    max_lines: int = DEFAULT_LINES,
) -> list[LogView]:
    """Lines at `level` or above, oldest first; of one device, or of all. Raises NotFound.

    The newest ones; or, to follow, the first ones that came after the line `after_id`.
    """
    levels = get_args(Level)[get_args(Level).index(level) :]
    wanted = select(LogRow).where(LogRow.level.in_(levels)).limit(max_lines)
    with db.read() as session:
        if device is not None:
            wanted = wanted.where(LogRow.device == find_device(session, device).id)
        if after_id is not None:
            rows = session.scalars(wanted.where(LogRow.id > after_id).order_by(LogRow.id)).all()
        else:
            rows = session.scalars(wanted.order_by(LogRow.id.desc())).all()[::-1]
        return [_log(row) for row in rows]


def decommission(db: Database, device: str, *, reason: str = "", now_s: float, actor: str) -> DeviceView:
    """Take it out of service until `recommission`, although it may speak: no target means it, nothing is asked of it.

    Its document asks for nothing more, so that nothing old is asked of it later; it goes on with what it runs. Rollouts
    count it as removed, also when it is taken in again. Its telemetry and logs are not kept. Idempotent. Raises
    NotFound. Afterwards the caller clears its document on the broker.
    """
    with db.write() as session:
        row = find_device(session, device)
        if row.decommissioned_s is None:
            row.decommissioned_s = now_s
            orders = Orders(session, [device])
            for entry in orders.all_asked(device):
                orders.want(device, entry.slot, None, now_s=now_s)
            orders.write()
            withdraw(session, device, now_s=now_s)
            audit.record(session, "device-decommissioned", device, now_s=now_s, actor=actor, reason=reason)
            session.flush()
        return device_view(session, device)


def recommission(db: Database, device: str, *, now_s: float, actor: str) -> DeviceView:
    """Take it in again. What it is to run is decided by rollouts. Idempotent. Raises NotFound."""
    with db.write() as session:
        row = find_device(session, device)
        if row.decommissioned_s is not None:
            row.decommissioned_s = None
            audit.record(session, "device-recommissioned", device, now_s=now_s, actor=actor)
            session.flush()
        return device_view(session, device)


def remove_device(db: Database, device: str, *, now_s: float, actor: str) -> None:
    """Forget a device until it is heard from again. Idempotent. Raises NotFound where it never was.

    Rollouts that it was in go on without it, also when it is heard from again.
    Afterwards the caller clears its retained topics, or the broker will speak for it once more.
    """
    with db.write() as session:
        row = find_known(session, device)
        if row.removed_s is None:
            row.removed_s = now_s
            withdraw(session, device, now_s=now_s)
            audit.record(session, "device-removed", device, now_s=now_s, actor=actor)


def device_view(session: Session, device: str) -> DeviceView:
    """The device must be known; it may be removed."""
    return _view(session.execute(_columns().where(DeviceRow.id == device)).one())


def _columns() -> Select[*tuple[Any, ...]]:
    """Columns, and the documents beside them: a list of a whole fleet must not ask once a device."""
    row, wanted = DeviceRow, DesiredRow
    return select(
        row.id, row.presence, row.presence_s, row.first_seen_s, row.last_seen_s, row.birth, row.reported,
        row.reported_epoch, row.reported_generation, row.decommissioned_s,
        wanted.epoch, wanted.generation, wanted.slots,
    ).join(wanted, wanted.device == row.id, isouter=True)  # fmt: skip


def _rows(presence: Listed | None) -> Select[*tuple[Any, ...]]:
    if presence == "decommissioned":
        return _columns().where(DeviceRow.removed_s.is_(None), DeviceRow.decommissioned_s.is_not(None))
    in_service = _columns().where(*IN_SERVICE)
    return in_service if presence is None else in_service.where(DeviceRow.presence == presence)


def _serves(session: Session, text: str) -> Callable[[Row[Any]], bool]:
    model, wanted = parse_version(text)
    number = find_version(session, text).number if isinstance(wanted, str) else wanted

    def serves(row: Row[Any]) -> bool:
        refs = (slot.serving for slot in reports_of(row))
        return any(ref.model == model and number in (None, ref.version) for ref in refs if ref is not None)

    return serves


def _view(row: Row[Any]) -> DeviceView:
    wanted = (row.epoch, row.generation) if row.slots is not None else (0, 0)
    return DeviceView(
        id=row.id,
        presence=row.presence,
        first_seen_s=row.first_seen_s,
        last_seen_s=row.last_seen_s,
        birth=birth_of(row),
        slots=reports_of(row),
        desired=assignments(row.slots),
        in_step=(row.reported_epoch, row.reported_generation) >= wanted,
        presence_s=row.presence_s,
        decommissioned_s=row.decommissioned_s,
    )


def _reverts(session: Session, device: str) -> tuple[Revert, ...]:
    wanted = select(EventRow).where(EventRow.device == device, EventRow.kind.in_(("rejected", "reverted")))
    found = []
    for row in session.scalars(wanted.order_by(EventRow.id.desc()).limit(MAX_REVERTS)).all()[::-1]:
        event = msgspec.json.decode(row.body, type=Event)
        if event.ref is not None:
            found.append(
                Revert(
                    slot=event.slot or "",
                    model=event.ref.model,
                    version=event.ref.version,
                    result=row.kind,
                    reason=event.reason,
                    at_s=row.at_s,
                    received_s=row.received_s,
                )
            )
    return tuple(found)


def _newest_events(session: Session, device: str, max_events: int) -> tuple[Event, ...]:
    newest = select(EventRow.body).where(EventRow.device == device).order_by(EventRow.id.desc()).limit(max_events)
    return tuple(msgspec.json.decode(body, type=Event) for body in session.scalars(newest))


def _newest_system(session: Session, device: str) -> SystemReading | None:
    newest = select(TelemetryRow.system).where(TelemetryRow.device == device).order_by(TelemetryRow.id.desc()).limit(1)
    body = session.scalars(newest).one_or_none()
    return msgspec.json.decode(body, type=SystemReading) if body is not None else None


def _log(row: LogRow) -> LogView:
    return LogView(
        id=row.id,
        device=row.device,
        received_s=row.received_s,
        at_s=row.at_s,
        level=row.level,
        event=row.event,
        fields=msgspec.json.decode(row.fields, type=dict[str, str]),
    )
