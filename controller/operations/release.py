"""Devices taken out of a rollout that goes on for the others: by an operator, or since they leave the fleet.

Rules upheld here:
- Who has not settled is given back what it had, as at every other end of a rollout, so that nobody begins unwatched.
  A rollback gives nothing back: its devices are on the way to where everybody is to go.
- Who was taken out counts neither as success nor as failure, and does not come back as a late joiner: also not when
  it comes back to the fleet, where what it was sent long ago would be overdue at once.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.members import LIVE, Standing
from wherry.controller.core.standing import GONE, UNSETTLED
from wherry.controller.operations import audit
from wherry.controller.operations.documents import Orders
from wherry.controller.operations.entries import COLUMNS, Entry, add, change, new_entry
from wherry.controller.operations.members import assignment
from wherry.controller.operations.overlap import meant, moved_on, refuse_moved_on
from wherry.controller.operations.sending import give_back
from wherry.controller.store.tables import RolloutDeviceRow, RolloutRow


def release(
    session: Session, row: RolloutRow, devices: Collection[str], reason: str, *, now_s: float, actor: str
) -> bool:
    """Take them out of a live or queued rollout; whether anybody is left in it."""
    if row.state == "queued":
        left, out = _release_meant(session, row, set(devices), reason, now_s)
    else:
        left, out = _release_members(session, row, set(devices), reason, now_s)
    if out and left:
        detail = {"devices": out, "reason": reason}
        audit.record(session, "rollout-devices-released", f"rollout {row.id}", now_s=now_s, actor=actor, **detail)
    session.flush()
    return left


def withdraw(session: Session, device: str, *, now_s: float) -> None:
    """Take a device that leaves the fleet out of every rollout that may still do something to it."""
    inside = (
        select(RolloutRow, *COLUMNS)
        .join(RolloutRow, RolloutRow.id == RolloutDeviceRow.rollout)
        .where(RolloutDeviceRow.device == device, RolloutDeviceRow.wave > 0, RolloutRow.state.in_((*LIVE, "held")))
    )
    for found in session.execute(inside).all():
        _set_apart(session, found.RolloutRow, [found], "removed", GONE, now_s)
    session.flush()


def leave_moved_on(session: Session, row: RolloutRow, now_s: float) -> str:
    """Before a held rollout is taken back: leave devices to what they were given since, and name them.

    Also those that another live rollout has, or two would move them. Raises Conflict where nobody else is left.
    """
    moved, stayed = moved_on(session, row)
    claimed = set(
        session.scalars(
            select(RolloutDeviceRow.device)
            .join(RolloutRow, RolloutRow.id == RolloutDeviceRow.rollout)
            .where(RolloutRow.state.in_(LIVE), RolloutRow.slot == row.slot, RolloutDeviceRow.wave > 0)
        )
    )
    left = [*moved, *(entry for entry in stayed if entry.device in claimed)]
    if len(left) == len(moved) + len(stayed):
        refuse_moved_on(session, row)
    _set_apart(session, row, left, "released", "was given something else since", now_s)
    session.flush()
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    return ", ".join(entry.device for entry in left[:5]) + more


def _release_members(
    session: Session, row: RolloutRow, devices: set[str], reason: str, now_s: float
) -> tuple[bool, list[str]]:
    inside = select(*COLUMNS).where(RolloutDeviceRow.rollout == row.id, RolloutDeviceRow.wave > 0)
    entries = session.execute(inside.order_by(RolloutDeviceRow.wave, RolloutDeviceRow.position)).all()
    out = [entry for entry in entries if entry.device in devices]
    _set_apart(session, row, out, "released", reason, now_s)
    return len(out) < len(entries), [entry.device for entry in out]


def _set_apart(
    session: Session, row: RolloutRow, entries: Sequence[Entry], standing: Standing, reason: str, now_s: float
) -> None:
    orders = Orders(session, [entry.device for entry in entries])
    if row.kind == "rollout":
        give_back(session, orders, row, [entry for entry in entries if _is_on_the_way(orders, row, entry)], now_s)
    told = {"wave": 0, "standing": standing, "reason": reason, "standing_s": now_s}
    change(session, row, [{"device": entry.device, **told} for entry in entries])


def _is_on_the_way(orders: Orders, row: RolloutRow, entry: Entry) -> bool:
    unsettled = entry.standing in UNSETTLED and entry.sent is not None and entry.restored_s is None
    return unsettled and orders.asked(entry.device, row.slot) == assignment(entry.sent)


def _release_meant(
    session: Session, row: RolloutRow, devices: set[str], reason: str, now_s: float
) -> tuple[bool, list[str]]:
    """One that is queued has no devices yet: those that it is not to have are written down in advance."""
    known = list(meant(session, row))
    out = [device for device in known if device in devices]
    add(session, [new_entry(row, device, 0, place, now_s, "released", reason) for place, device in enumerate(out)])
    return len(out) < len(known), out
