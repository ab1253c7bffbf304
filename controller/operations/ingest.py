"""What devices say, taken in. Nothing here trusts order, and nothing counts twice.

Whatever a device sends makes it known, so that nothing is lost; a removed one is known again. Of one that is
decommissioned neither telemetry nor logs are kept. No audit rows: these are facts, not decisions. `last_seen_s` moves
only by what a device must have sent itself just now: retained copies that a broker repeats, and wills, do not move it.

Every function raises Malformed for counters beyond `MAX_COUNT`: a hostile device must not be able to
overflow a column or a sum.
"""

from typing import Any

import msgspec
from sqlalchemy.orm import Session

from wherry.controller.operations import behaviours
from wherry.controller.operations.documents import overtake
from wherry.controller.store.database import Database
from wherry.controller.store.insert import insert_new
from wherry.controller.store.tables import Base, DeviceRow, EventRow, LogRow, TelemetryRow
from wherry.protocol.errors import Malformed
from wherry.protocol.up import Birth, Event, Log, Reported, Status, Telemetry

MAX_COUNT = 2**40


def apply_status(db: Database, device: str, status: Status, *, now_s: float) -> bool:
    """False where it is of an earlier session, a stale will, and was ignored.

    Only a device says that it is online, so that is never stale: a lower number is that of a new disk,
    from which it counts anew. A higher one that is not online comes from a session whose beginning was
    missed.
    """
    _bound(status.session)
    with db.write() as session:
        row = _device(session, device, now_s)
        if status.presence != "online" and status.session < row.session:
            return False
        if status.presence != row.presence:
            row.presence, row.presence_s = status.presence, now_s
        row.session = status.session
        if status.presence == "online":
            row.last_seen_s = now_s
        return True


def apply_birth(db: Database, device: str, birth: Birth, *, now_s: float) -> None:
    """Keep the newest probed capability."""
    body = msgspec.json.encode(birth)
    with db.write() as session:
        row = _device(session, device, now_s)
        if row.birth != body:
            row.birth, row.last_seen_s = body, now_s


def apply_reported(db: Database, device: str, reported: Reported, *, now_s: float) -> None:
    """Keep the newest report. The topic is retained and of one writer, so the last to arrive is the newest.

    A device that has accepted more than was ever ordered here is ordered what is wanted of it once more.
    """
    _bound(reported.epoch, reported.generation)
    body = msgspec.json.encode(reported)
    with db.write() as session:
        row = _device(session, device, now_s)
        before = (row.reported_epoch, row.reported_generation)
        if row.reported != body:
            row.reported, row.last_seen_s = body, now_s
            row.reported_epoch, row.reported_generation = reported.epoch, reported.generation
        overtake(session, row, before, now_s=now_s)


def apply_event(db: Database, device: str, event: Event, *, now_s: float) -> bool:
    """Exactly once: False where (device, boot id, seq) is known, and nothing was done."""
    _bound(event.seq)
    values = {
        "device": device,
        "boot_id": event.boot_id,
        "seq": event.seq,
        "received_s": now_s,
        "at_s": event.at_s,
        "kind": event.kind,
        "body": msgspec.json.encode(event),
    }
    with db.write() as session:
        new = _keep(session, EventRow, [values], device, now_s)
        if new:
            behaviours.add_event(session, device, event, now_s=now_s)
        return new


def apply_telemetry(db: Database, device: str, telemetry: Telemetry, *, now_s: float) -> bool:
    """False where the window is known, and nothing was done."""
    _bound(telemetry.window, telemetry.ref.version, telemetry.inferences, telemetry.errors)
    _bound(telemetry.labelled, telemetry.correct, *telemetry.latency.counts)
    values = {
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
    with db.write() as session:
        new = _keep(session, TelemetryRow, [values], device, now_s)
        if new:
            behaviours.add_window(session, device, telemetry, now_s=now_s)
        return new


def apply_log(db: Database, device: str, log: Log, *, now_s: float) -> bool:
    """False where the batch is known, and nothing was done."""
    _bound(log.batch)
    origin = {"device": device, "boot_id": log.boot_id, "batch": log.batch, "received_s": now_s}
    values = [
        {
            **origin,
            "line": number,
            "at_s": line.at_s,
            "level": line.level,
            "event": line.event,
            "fields": msgspec.json.encode(line.fields),
        }
        for number, line in enumerate(log.lines)
    ]
    with db.write() as session:
        return _keep(session, LogRow, values, device, now_s)


def _bound(*counts: int) -> None:
    for count in counts:
        if count > MAX_COUNT:
            raise Malformed(f"a counter of {count}, more than {MAX_COUNT}")


def _keep(session: Session, table: type[Base], values: list[dict[str, Any]], device: str, now_s: float) -> bool:
    """Insert what is new by the table's unique key; whether anything was."""
    row = _device(session, device, now_s)
    row.last_seen_s = now_s
    if row.decommissioned_s is not None and table is not EventRow:
        return False
    session.flush()
    new = [insert_new(session, table, entry) for entry in values]
    return any(new)


def _device(session: Session, device: str, now_s: float) -> DeviceRow:
    row = session.get(DeviceRow, device)
    if row is None:
        row = DeviceRow(
            id=device, first_seen_s=now_s, last_seen_s=now_s, presence="offline", presence_s=now_s, session=0,
            reported_epoch=0, reported_generation=0,
        )  # fmt: skip
        session.add(row)
    row.removed_s = None
    return row
