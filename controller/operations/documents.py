"""The desired documents' rows: read and changed inside somebody else's transaction.

Rule upheld here: a document is newer than whatever its device has accepted, or it would never be obeyed.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.members import Order
from wherry.controller.store.rows import rows_by
from wherry.controller.store.tables import DesiredRow, DeviceRow, MetaRow, RolloutDeviceRow
from wherry.protocol.down.desired import Assignment, Desired
from wherry.protocol.types import MAX_ORDINAL

_slots: msgspec.json.Decoder[tuple[Assignment, ...]] = msgspec.json.Decoder(tuple[Assignment, ...])


def assignments(row: DesiredRow | None) -> tuple[Assignment, ...]:
    """What the document asks for, by slot; nothing where there is none."""
    return decode_assignments(row.slots) if row is not None else ()


def decode_assignments(body: bytes) -> tuple[Assignment, ...]:
    return _slots.decode(body)


def assignment_of(row: DesiredRow | None, slot: str) -> Assignment | None:
    return next((entry for entry in assignments(row) if entry.slot == slot), None)


def document(row: DesiredRow, artifacts_url: str | None) -> Desired:
    """The message to publish."""
    return Desired(epoch=row.epoch, generation=row.generation, slots=assignments(row), artifacts_url=artifacts_url)


class Orders:
    """The documents of some devices, read at once; a device without one has one as soon as it is asked for something.

    For as long as this object lives, nobody else changes them in this transaction.
    """

    def __init__(self, session: Session, devices: Collection[str]) -> None:
        self._session = session
        self._epoch = current_epoch(session)
        self._devices = rows_by(session, DeviceRow, DeviceRow.id, devices)
        self._rows = rows_by(session, DesiredRow, DesiredRow.device, devices)

    def device(self, name: str) -> DeviceRow:
        return self._devices[name]

    def asked(self, device: str, slot: str) -> Assignment | None:
        return assignment_of(self._rows.get(device), slot)

    def want(self, device: str, slot: str, wanted: Assignment | None, *, now_s: float) -> Order:
        """Change one slot of the device's document, None to leave the slot out; always a new generation.

        It is newer than whatever the device has accepted, also from another controller or an earlier database.
        """
        row = self._rows.get(device)
        if row is None:
            row = self._rows[device] = _empty(device, now_s)
            self._session.add(row)
        kept = [entry for entry in assignments(row) if entry.slot != slot]
        slots = sorted([*kept, wanted] if wanted is not None else kept, key=lambda entry: entry.slot)
        row.slots = msgspec.json.encode(slots)
        return _renew(row, self._devices[device], self._epoch, now_s)


def _empty(device: str, now_s: float) -> DesiredRow:
    return DesiredRow(
        device=device, epoch=0, generation=0, slots=b"[]", changed_s=now_s, published_epoch=0, published_generation=0
    )


def overtake(session: Session, device: DeviceRow, before: Order, *, now_s: float) -> None:
    """Order the same again under a newer generation where the device has accepted a newer one than was ordered.

    `before` is what it had accepted until then. What rollouts have ordered and it had not accepted by
    then is in the renewed document, so it is looked for in the answers to that one.
    """
    row = session.get(DesiredRow, device.id)
    if row is None or (device.reported_epoch, device.reported_generation) <= (row.epoch, row.generation):
        return
    order_anew(session, row, device, before, now_s=now_s)


def order_anew(session: Session, row: DesiredRow, device: DeviceRow, before: Order, *, now_s: float) -> None:
    """Order the same under a newer generation; `before` as in `overtake`."""
    epoch, generation = _renew(row, device, current_epoch(session), now_s)
    for entry in session.scalars(select(RolloutDeviceRow).where(RolloutDeviceRow.device == device.id)):
        if entry.sent_s is not None and (entry.sent_epoch, entry.sent_generation) > before:
            entry.sent_epoch, entry.sent_generation = epoch, generation
        if entry.restored_s is not None and (entry.restored_epoch, entry.restored_generation) > before:
            entry.restored_epoch, entry.restored_generation = epoch, generation
    session.flush()


def _renew(row: DesiredRow, device: DeviceRow, current: int, now_s: float) -> Order:
    accepted = (device.reported_epoch, device.reported_generation)
    epoch, generation = max((row.epoch, row.generation), accepted)
    if generation == MAX_ORDINAL:  # nobody counts so far: it was forged, and the next epoch overtakes it
        epoch, generation = epoch + 1, 0
    row.epoch, row.generation = max(epoch, current), generation + 1
    row.changed_s = now_s
    return (row.epoch, row.generation)


def current_epoch(session: Session) -> int:
    return int(session.scalars(select(MetaRow.value).where(MetaRow.key == "epoch")).one())
