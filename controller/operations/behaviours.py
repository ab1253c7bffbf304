"""How versions behave on devices: one row for each version of a slot, begun anew whenever it is sent there."""

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from wherry.controller.core.behaviour import Behaviour, after_crash, after_window
from wherry.controller.store.insert import insert_into
from wherry.controller.store.rows import in_parts
from wherry.controller.store.tables import BehaviourRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.up import Event, Telemetry

NOTHING_KNOWN = b"{}"

_Key = tuple[str, str, str, int]
"""Device, slot, model, version."""

_decoder: msgspec.json.Decoder[Behaviour] = msgspec.json.Decoder(Behaviour)


def of(session: Session, asked: Mapping[str, Assignment]) -> dict[str, bytes]:
    """What is known, as JSON, of the assignment that is named for each device; of some it is nothing."""
    keys = [(device, entry.slot, entry.model, entry.version) for device, entry in asked.items()]
    return {device: body for (device, *_), body in _bodies(session, keys).items()}


def begin(session: Session, devices: Iterable[str], slot: str, model: str, version: int) -> None:
    """Forget how the version behaved there until now."""
    row = BehaviourRow
    for some in in_parts(devices):
        here = (row.device.in_(some), row.slot == slot, row.model == model, row.version == version)
        session.execute(update(row).where(*here).values(body=NOTHING_KNOWN))


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
    """Each column is looked for by itself, since databases look for many tuples slowly; what else is found is left."""
    column = BehaviourRow.__table__.c
    key = (column.device, column.slot, column.model, column.version)
    found: dict[_Key, bytes] = {}
    for some in in_parts(keys):
        within = [part.in_(set(values)) for part, values in zip(key, zip(*some, strict=True), strict=True)]
        rows = session.connection().execute(select(*key, column.body).where(*within))
        bodies = {(row.device, row.slot, row.model, row.version): row.body for row in rows}
        found |= {asked: bodies[asked] for asked in some if asked in bodies}
    return found


def _write(session: Session, bodies: dict[_Key, bytes], now_s: float) -> None:
    insert = insert_into(session, BehaviourRow)
    changed = {"body": insert.excluded.body, "changed_s": insert.excluded.changed_s}
    statement = insert.on_conflict_do_update(index_elements=["device", "slot", "model", "version"], set_=changed)
    rows = [
        {"device": device, "slot": slot, "model": model, "version": version, "body": body, "changed_s": now_s}
        for (device, slot, model, version), body in bodies.items()
    ]
    session.connection().execute(statement, rows)
