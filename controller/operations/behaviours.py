"""How versions behave on devices: one row for each version of a slot, begun anew whenever it is sent there."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from wherry.controller.core.behaviour import Behaviour, after_crash, after_window
from wherry.controller.store.insert import insert_into
from wherry.controller.store.tables import BehaviourRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.up import Event, Telemetry

NOTHING_KNOWN = b"{}"

_Key = tuple[str, str, str, int]
"""Device, slot, model, version."""

_decoder: msgspec.json.Decoder[Behaviour] = msgspec.json.Decoder(Behaviour)


def of(session: Session, device: str, assignment: Assignment) -> bytes | None:
    """What is known of it, as JSON; None where that is nothing."""
    row = session.get(BehaviourRow, (device, assignment.slot, assignment.model, assignment.version))
    return row.body if row is not None else None


def begin(session: Session, device: str, assignment: Assignment) -> None:
    """Forget how the version behaved there until now."""
    row = session.get(BehaviourRow, (device, assignment.slot, assignment.model, assignment.version))
    if row is not None:
        row.body = NOTHING_KNOWN


def add(session: Session, told: Iterable[tuple[str, Telemetry | Event]], *, now_s: float) -> None:
    """Add what devices tell of how versions behave, none of it known before. Each sum is read and written once."""
    news: dict[_Key, list[Telemetry | Event]] = {}
    for device, message in told:
        if (key := _key(device, message)) is not None:
            news.setdefault(key, []).append(message)
    if news:
        known = _bodies(session, news)
        _write(session, {key: _added(known.get(key, NOTHING_KNOWN), news[key]) for key in news}, now_s)


def _key(device: str, message: Telemetry | Event) -> _Key | None:
    """None for an event that says nothing of it."""
    if isinstance(message, Event) and message.kind != "worker-crashed":
        return None
    if message.slot is None or message.ref is None:
        return None
    return (device, message.slot, message.ref.model, message.ref.version)


def _added(body: bytes, news: Iterable[Telemetry | Event]) -> bytes:
    seen = _decoder.decode(body)
    for message in news:
        seen = after_crash(seen) if isinstance(message, Event) else after_window(seen, message)
    return msgspec.json.encode(seen)


def _bodies(session: Session, keys: Iterable[_Key]) -> dict[_Key, bytes]:
    column = BehaviourRow.__table__.c
    key = (column.device, column.slot, column.model, column.version)
    found = session.connection().execute(select(*key, column.body).where(tuple_(*key).in_(list(keys))))
    return {(row.device, row.slot, row.model, row.version): row.body for row in found}


def _write(session: Session, bodies: dict[_Key, bytes], now_s: float) -> None:
    insert = insert_into(session, BehaviourRow)
    changed = {"body": insert.excluded.body, "changed_s": insert.excluded.changed_s}
    statement = insert.on_conflict_do_update(index_elements=["device", "slot", "model", "version"], set_=changed)
    rows = [
        {"device": device, "slot": slot, "model": model, "version": version, "body": body, "changed_s": now_s}
        for (device, slot, model, version), body in bodies.items()
    ]
    session.connection().execute(statement, rows)
