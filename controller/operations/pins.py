"""Pins: a slot of a device that stays as it is, whatever is rolled out.

Rules upheld here:
- A pinned slot is moved by no rollout and no rollback that begins while it is pinned. One that runs already goes on.
- Pinning twice changes the reason; unpinning what is not pinned changes nothing.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.errors import Invalid, NotFound
from wherry.controller.operations import audit
from wherry.controller.operations.fleet import find_device
from wherry.controller.store.database import Database
from wherry.controller.store.tables import PinRow
from wherry.protocol.types import Struct


class PinView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    device: str
    slot: str
    reason: str
    pinned_s: float
    pinned_by: str


def pin(db: Database, device: str, slot: str, *, reason: str, now_s: float, actor: str) -> PinView:
    """Idempotent. Raises NotFound for the device, Invalid without a reason."""
    if not reason.strip():
        raise Invalid("a pin needs a reason", "say why the device must stay as it is")
    with db.write() as session:
        find_device(session, device)
        row = session.get(PinRow, (device, slot))
        if row is None:
            row = PinRow(device=device, slot=slot, reason="", pinned_s=now_s, pinned_by=actor)
            session.add(row)
        if row.reason != reason:
            row.reason, row.pinned_s, row.pinned_by = reason, now_s, actor
            audit.record(session, "device-pinned", device, now_s=now_s, actor=actor, slot=slot, reason=reason)
        return view_of(row)


def unpin(db: Database, device: str, slot: str, *, now_s: float, actor: str) -> bool:
    """Whether it was pinned. Raises NotFound for the device."""
    with db.write() as session:
        find_device(session, device)
        row = session.get(PinRow, (device, slot))
        if row is None:
            return False
        session.delete(row)
        audit.record(session, "device-unpinned", device, now_s=now_s, actor=actor, slot=slot)
        return True


def get_pin(db: Database, device: str, slot: str) -> PinView:
    """Raises NotFound for the device, or where the slot is not pinned."""
    with db.read() as session:
        find_device(session, device)
        row = session.get(PinRow, (device, slot))
        if row is None:
            raise NotFound(f"{slot} of {device} is not pinned", "see `GET /api/v1/pins`")
        return view_of(row)


def list_pins(db: Database) -> list[PinView]:
    """By device and slot."""
    with db.read() as session:
        return [view_of(row) for row in session.scalars(select(PinRow).order_by(PinRow.device, PinRow.slot))]


def pins_of(session: Session, slot: str) -> dict[str, str]:
    """Devices on which the slot is pinned, with the reason in words."""
    rows = session.scalars(select(PinRow).where(PinRow.slot == slot))
    return {row.device: f"pinned by {row.pinned_by}: {row.reason}" for row in rows}


def view_of(row: PinRow) -> PinView:
    return PinView(device=row.device, slot=row.slot, reason=row.reason, pinned_s=row.pinned_s, pinned_by=row.pinned_by)
