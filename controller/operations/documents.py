"""The desired documents' rows: read and changed inside somebody else's transaction.

Rule upheld here: a document is newer than whatever its device has accepted, or it would never be obeyed.
"""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from wherry.controller.core.members import Order
from wherry.controller.store.insert import insert_into
from wherry.controller.store.rows import rows_by
from wherry.controller.store.tables import DesiredRow, DeviceRow, MetaRow, RolloutDeviceRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.types import MAX_ORDINAL

_slots: msgspec.json.Decoder[tuple[Assignment, ...]] = msgspec.json.Decoder(tuple[Assignment, ...])


def assignments(slots: bytes | None) -> tuple[Assignment, ...]:
    """What a document with these `slots` asks for, by slot; nothing where there is none."""
    return _slots.decode(slots) if slots is not None else ()


def assignment_of(slots: bytes | None, slot: str) -> Assignment | None:
    return _in_slot(assignments(slots), slot)


class Orders:
    """The documents of some devices, read at once, changed by `want`, and written at once.

    For as long as this object lives, nobody else changes them in this transaction. Rows and not objects: whoever holds
    a `DesiredRow` does not see the change.
    """

    def __init__(self, session: Session, devices: Collection[str]) -> None:
        self._session = session
        self._epoch = current_epoch(session)
        self._devices = rows_by(session, _columns(), DeviceRow.id, devices)
        self._asked = {device: assignments(row.slots) for device, row in self._devices.items()}
        self._new: dict[str, dict[str, Any]] = {}

    def device(self, name: str) -> Row[Any]:
        """What the device has reported, and whether it is in service."""
        return self._devices[name]

    def all_asked(self, device: str) -> tuple[Assignment, ...]:
        return self._asked[device]

    def asked(self, device: str, slot: str) -> Assignment | None:
        return _in_slot(self._asked[device], slot)

    def want(self, device: str, slot: str, wanted: Assignment | None, *, now_s: float) -> Order:
        """Change one slot of the device's document, None to leave the slot out; always a new generation.

        It is newer than whatever the device has accepted, also from another controller or an earlier database.
        """
        kept = [entry for entry in self._asked[device] if entry.slot != slot]
        slots = sorted([*kept, wanted] if wanted is not None else kept, key=lambda entry: entry.slot)
        self._asked[device] = tuple(slots)
        epoch, generation = order = _newer(self._ordered(device), _accepted(self._devices[device]), self._epoch)
        self._new[device] = {
            "device": device, "epoch": epoch, "generation": generation, "slots": msgspec.json.encode(slots),
            "changed_s": now_s, "published_epoch": 0, "published_generation": 0,
        }  # fmt: skip
        return order

    def write(self) -> None:
        """Nothing that was wanted is in the database before. Whether a document was published stays as it is."""
        insert = insert_into(self._session, DesiredRow)
        changed = {name: insert.excluded[name] for name in ("epoch", "generation", "slots", "changed_s")}
        if self._new:
            statement = insert.on_conflict_do_update(index_elements=["device"], set_=changed)
            self._session.connection().execute(statement, list(self._new.values()))

    def _ordered(self, device: str) -> Order:
        new, row = self._new.get(device), self._devices[device]
        if new is not None:
            return (new["epoch"], new["generation"])
        return (row.epoch, row.generation) if row.slots is not None else (0, 0)


def _columns() -> Select[*tuple[Any, ...]]:
    device, desired = DeviceRow, DesiredRow
    return select(
        device.id, device.reported, device.reported_epoch, device.reported_generation, device.removed_s,
        device.decommissioned_s, desired.epoch, desired.generation, desired.slots,
    ).join(desired, desired.device == device.id, isouter=True)  # fmt: skip


def _in_slot(asked: tuple[Assignment, ...], slot: str) -> Assignment | None:
    return next((entry for entry in asked if entry.slot == slot), None)


def overtake(session: Session, device: DeviceRow, before: Order, *, now_s: float) -> None:
    """Order the same again under a newer generation where the device has accepted a newer one than was ordered.

    `before` is what it had accepted until then. What rollouts have ordered and it had not accepted by
    then is in the renewed document, so it is looked for in the answers to that one.
    """
    row = session.get(DesiredRow, device.id)
    if row is None or _accepted(device) <= (row.epoch, row.generation):
        return
    order_anew(session, row, device, before, now_s=now_s)


def order_anew(session: Session, row: DesiredRow, device: DeviceRow, before: Order, *, now_s: float) -> None:
    """Order the same under a newer generation; `before` as in `overtake`."""
    epoch, generation = _newer((row.epoch, row.generation), _accepted(device), current_epoch(session))
    row.epoch, row.generation, row.changed_s = epoch, generation, now_s
    for entry in session.scalars(select(RolloutDeviceRow).where(RolloutDeviceRow.device == device.id)):
        if entry.sent_s is not None and (entry.sent_epoch, entry.sent_generation) > before:
            entry.sent_epoch, entry.sent_generation = epoch, generation
        if entry.restored_s is not None and (entry.restored_epoch, entry.restored_generation) > before:
            entry.restored_epoch, entry.restored_generation = epoch, generation
    session.flush()


def _newer(ordered: Order, accepted: Order, current: int) -> Order:
    """Than both, in the `current` epoch or a later one."""
    epoch, generation = max(ordered, accepted)
    if generation == MAX_ORDINAL:  # nobody counts so far: it was forged, and the next epoch overtakes it
        epoch, generation = epoch + 1, 0
    return (max(epoch, current), generation + 1)


def _accepted(device: DeviceRow | Row[Any]) -> Order:
    return (device.reported_epoch, device.reported_generation)


def current_epoch(session: Session) -> int:
    return int(session.scalars(select(MetaRow.value).where(MetaRow.key == "epoch")).one())
