"""The desired documents' rows: read and changed inside somebody else's transaction."""

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.members import Order
from wherry.controller.store.tables import DesiredRow, MetaRow
from wherry.protocol.down.desired import Assignment, Desired

_slots: msgspec.json.Decoder[tuple[Assignment, ...]] = msgspec.json.Decoder(tuple[Assignment, ...])


def assignments(row: DesiredRow | None) -> tuple[Assignment, ...]:
    """What the document asks for, by slot; nothing where there is none."""
    return _slots.decode(row.slots) if row is not None else ()


def assignment_of(row: DesiredRow | None, slot: str) -> Assignment | None:
    return next((entry for entry in assignments(row) if entry.slot == slot), None)


def document(row: DesiredRow, artifacts_url: str | None) -> Desired:
    """The message to publish."""
    return Desired(epoch=row.epoch, generation=row.generation, slots=assignments(row), artifacts_url=artifacts_url)


def want(session: Session, device: str, slot: str, wanted: Assignment | None, *, now_s: float) -> Order:
    """Change one slot of the device's document, None to leave the slot out; always a new generation."""
    epoch = current_epoch(session)
    row = session.get(DesiredRow, device)
    if row is None:
        row = DesiredRow(device=device, generation=0, slots=b"[]", published_epoch=0, published_generation=0)
        session.add(row)
    kept = [entry for entry in assignments(row) if entry.slot != slot]
    slots = sorted([*kept, wanted] if wanted is not None else kept, key=lambda entry: entry.slot)
    row.epoch = epoch
    row.generation += 1
    row.slots = msgspec.json.encode(slots)
    row.changed_s = now_s
    session.flush()
    return (row.epoch, row.generation)


def current_epoch(session: Session) -> int:
    return int(session.scalars(select(MetaRow.value).where(MetaRow.key == "epoch")).one())
