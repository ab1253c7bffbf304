"""What devices tell once: events, windows and log lines as rows, and the sums that are kept of them.

Rules upheld here:
- What is known already, or comes twice at once, is neither written nor added again.
- A row and what it adds to a sum are written together or not at all.
- Many cost little more than one: a few statements, however many there are. Nothing is loaded as an object.
- Of a decommissioned device neither windows nor lines are kept.

Every function takes pairs of a device and a message, says of each whether anything of it was new, and raises
Malformed for counters beyond `MAX_COUNT`: a hostile device must not be able to overflow a column or a sum.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from wherry.controller.operations import behaviours
from wherry.controller.store.database import Database
from wherry.controller.store.insert import insert_into
from wherry.controller.store.rows import in_parts
from wherry.controller.store.tables import Base, DeviceRow, EventRow, LogRow, TelemetryRow
from wherry.protocol.errors import Malformed
from wherry.protocol.up import Event, Log, Telemetry

MAX_COUNT = 2**40

_Row = dict[str, Any]

_EVENT_KEY = ("device", "boot_id", "seq")
_WINDOW_KEY = ("device", "boot_id", "slot", "window")
_LINE_KEY = ("device", "boot_id", "batch", "line")


def keep_events(db: Database, told: Sequence[tuple[str, Event]], *, now_s: float) -> list[bool]:
    for _, event in told:
        bound(event.seq)
    with db.write() as session:
        _meet(session, told, now_s)
        new = _insert_new(session, EventRow, _EVENT_KEY, [_event(*entry, now_s) for entry in told])
        behaviours.add(session, _only(told, new), now_s=now_s)
    return new


def keep_windows(db: Database, told: Sequence[tuple[str, Telemetry]], *, now_s: float) -> list[bool]:
    for _, telemetry in told:
        bound(telemetry.window, telemetry.ref.version, telemetry.inferences, telemetry.errors)
        bound(telemetry.labelled, telemetry.correct, *telemetry.latency.counts)
    with db.write() as session:
        away = _meet(session, told, now_s)
        rows = [_window(*entry, now_s) if entry[0] not in away else None for entry in told]
        new = _insert_new(session, TelemetryRow, _WINDOW_KEY, rows)
        behaviours.add(session, _only(told, new), now_s=now_s)
    return new


def keep_logs(db: Database, told: Sequence[tuple[str, Log]], *, now_s: float) -> list[bool]:
    for _, log in told:
        bound(log.batch)
    with db.write() as session:
        away = _meet(session, told, now_s)
        lines = [list(_lines(*entry, now_s)) if entry[0] not in away else [] for entry in told]
        new = iter(_insert_new(session, LogRow, _LINE_KEY, [row for rows in lines for row in rows]))
        return [sum(next(new) for _ in rows) > 0 for rows in lines]


def new_device(device: str, now_s: float) -> _Row:
    """The row of one that has said nothing yet."""
    return {
        "id": device,
        "first_seen_s": now_s,
        "last_seen_s": now_s,
        "presence": "offline",
        "presence_s": now_s,
        "session": 0,
        "reported_epoch": 0,
        "reported_generation": 0,
    }


def bound(*counts: int) -> None:
    """Raises Malformed."""
    for count in counts:
        if count > MAX_COUNT:
            raise Malformed(f"a counter of {count}, more than {MAX_COUNT}")


def _meet(session: Session, told: Iterable[tuple[str, object]], now_s: float) -> set[str]:
    """Make the devices known, as seen just now. Returns those that are decommissioned."""
    names = {device for device, _ in told}
    connection, device = session.connection(), DeviceRow.__table__.c
    found = connection.execute(select(device.id, device.decommissioned_s).where(device.id.in_(names))).all()
    seen = {row.id for row in found}
    if seen:
        moved = update(DeviceRow.__table__).where(device.id.in_(seen))  # type: ignore[arg-type]
        connection.execute(moved.values(last_seen_s=now_s, removed_s=None))
    if strangers := sorted(names - seen):
        connection.execute(insert(DeviceRow), [new_device(name, now_s) for name in strangers])
    return {row.id for row in found if row.decommissioned_s is not None}


def _insert_new(session: Session, table: type[Base], key: Sequence[str], rows: Sequence[_Row | None]) -> list[bool]:
    """Insert what is not there by its key; which of the rows were. Of several with one key only the first can be."""
    first: dict[tuple[Any, ...], _Row] = {}
    for row in rows:
        if row is not None:
            first.setdefault(_key(row, key), row)
    inserted = _insert(session, table, key, list(first.values()))
    keys = [_key(row, key) if row is not None else None for row in rows]
    return [
        place is not None and place in inserted and first[place] is row for place, row in zip(keys, rows, strict=True)
    ]


def _insert(session: Session, table: type[Base], key: Sequence[str], rows: list[_Row]) -> set[tuple[Any, ...]]:
    """The keys of the rows that were new."""
    columns = [table.__table__.c[name] for name in key]
    statement = insert_into(session, table).on_conflict_do_nothing().returning(*columns)
    found: set[tuple[Any, ...]] = set()
    for some in in_parts(rows):
        found.update(map(tuple, session.connection().execute(statement, some)))
    return found


def _key(row: _Row, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _only(told: Sequence[tuple[str, Any]], new: Sequence[bool]) -> list[tuple[str, Any]]:
    return [entry for entry, is_new in zip(told, new, strict=True) if is_new]


def _event(device: str, event: Event, now_s: float) -> _Row:
    return {
        "device": device,
        "boot_id": event.boot_id,
        "seq": event.seq,
        "received_s": now_s,
        "at_s": event.at_s,
        "kind": event.kind,
        "body": msgspec.json.encode(event),
    }


def _window(device: str, telemetry: Telemetry, now_s: float) -> _Row:
    return {
        "device": device,
        "boot_id": telemetry.boot_id,
        "slot": telemetry.slot,
        "window": telemetry.window,
        "received_s": now_s,
        "model": telemetry.ref.model,
        "version": telemetry.ref.version,
        "artifact": telemetry.ref.artifact,
        "phase": telemetry.phase,
        "inferences": telemetry.inferences,
        "errors": telemetry.errors,
        "labelled": telemetry.labelled,
        "correct": telemetry.correct,
        "latency": msgspec.json.encode(telemetry.latency),
        "predictions": msgspec.json.encode(telemetry.predictions),
        "system": msgspec.json.encode(telemetry.system),
        "confidence": msgspec.json.encode(telemetry.confidence),
        "worker_cpu_share": telemetry.worker_cpu_share,
    }


def _lines(device: str, log: Log, now_s: float) -> Iterator[_Row]:
    for number, line in enumerate(log.lines):
        yield {
            "device": device,
            "boot_id": log.boot_id,
            "batch": log.batch,
            "line": number,
            "received_s": now_s,
            "at_s": line.at_s,
            "level": line.level,
            "event": line.event,
            "fields": msgspec.json.encode(line.fields),
        }
