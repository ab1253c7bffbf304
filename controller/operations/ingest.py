"""What devices say, taken in. Nothing here trusts order, and nothing counts twice.

Whatever a device sends makes it known, so that nothing is lost; a removed one is known again. Of one that is
decommissioned neither telemetry nor logs are kept. No audit rows: these are facts, not decisions. `last_seen_s` moves
only by what a device must have sent itself just now: retained copies that a broker repeats, and wills, do not move it.

Every function raises Malformed for counters beyond `facts.MAX_COUNT`.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.operations import facts
from wherry.controller.operations.documents import overtake
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, DeviceRow
from wherry.protocol.up import Birth, Event, Log, Reported, Status, Telemetry


def apply_status(db: Database, device: str, status: Status, *, now_s: float) -> bool:
    """False where it is of an earlier session, a stale will, and was ignored.

    Only a device says that it is online, so that is never stale: a lower number is that of a new disk,
    from which it counts anew. A higher one that is not online comes from a session whose beginning was
    missed.
    """
    facts.bound(status.session)
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
    facts.bound(reported.epoch, reported.generation)
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
    return facts.keep_events(db, [(device, event)], now_s=now_s)[0]


def apply_telemetry(db: Database, device: str, telemetry: Telemetry, *, now_s: float) -> bool:
    """False where the window is known, and nothing was done."""
    return facts.keep_windows(db, [(device, telemetry)], now_s=now_s)[0]


def apply_log(db: Database, device: str, log: Log, *, now_s: float) -> bool:
    """False where the batch is known, and nothing was done."""
    return facts.keep_logs(db, [(device, log)], now_s=now_s)[0]


@contextmanager
def at_hand(db: Database, devices: Collection[str]) -> Iterator[None]:
    """Read the devices' rows at once for what is done within, on a `db` of `Database.together`: it finds them."""
    with db.read() as session:
        rows = session.scalars(select(DeviceRow).where(DeviceRow.id.in_(devices))).all()
        documents = session.scalars(select(DesiredRow).where(DesiredRow.device.in_(devices))).all()
        yield
        del rows, documents  # the session keeps only what somebody holds


def _device(session: Session, device: str, now_s: float) -> DeviceRow:
    row = session.get(DeviceRow, device)
    if row is None:
        row = DeviceRow(**facts.new_device(device, now_s))
        session.add(row)
    row.removed_s = None
    return row
