"""The version once more to devices on which it failed.

Rules upheld here:
- An artifact that the device holds in quarantine is not sent again: the device would refuse it.
- The engine does the sending, within the plan's windows and rate. `attempts` 0 tells it that an operator has asked.
- A held rollout is carried on only where nobody has been given something else since.
"""

from collections.abc import Sequence

from sqlalchemy import Row, select
from sqlalchemy.orm import Session, aliased

from wherry.controller.core.standing import FAILED, GONE, PENDING, quarantine_reason
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit
from wherry.controller.operations.carry_out import step
from wherry.controller.operations.fleet import report_of
from wherry.controller.operations.members import assignment
from wherry.controller.operations.overlap import live_overlap, refuse, refuse_moved_on
from wherry.controller.operations.rollout_view import RolloutView, find_rollout, view
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DeviceRow, RolloutDeviceRow, RolloutRow
from wherry.protocol.types import Struct

Entry = Row[RolloutDeviceRow, DeviceRow]


class Retried(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`again` are the devices that are sent the version once more, `left` those that are not, with the reason."""

    rollout: RolloutView
    again: tuple[str, ...]
    left: dict[str, str]


def retry_failed(db: Database, rollout: int, *, reason: str = "", now_s: float, actor: str) -> Retried:
    """Send the version again to who failed with it; a rollout that was held is carried on with.

    Said twice, the second time finds nobody left. Where others have failed for good and their number is a breach, a
    held rollout is held again at once. Raises NotFound, or Conflict where it is queued, being taken back or has ended
    otherwise, or is held and nobody can be sent it again, or has been overtaken by a newer rollout.
    """
    with db.write() as session:
        row = find_rollout(session, rollout)
        entries = _entries(session, row)
        _refuse_ended(row, entries)
        left = {entry.device: why for entry, device in entries if (why := _reason_against(row, entry, device))}
        left |= _gone(session, row)
        again = [entry for entry, _ in entries if _is_wanted(row, entry) and entry.device not in left]
        if row.state == "held":
            _reopen(session, row, entries, again, left, now_s)
        for entry in again:
            entry.attempts, entry.restored_s, entry.restored_epoch, entry.restored_generation = 0, None, 0, 0
        told = tuple(entry.device for entry in again)
        if told:
            detail = {"devices": told, "reason": reason}
            audit.record(session, "rollout-retried", f"rollout {rollout}", now_s=now_s, actor=actor, **detail)
            session.flush()
            step(session, row, now_s)
        return Retried(rollout=view(session, row), again=told, left=left)


def _entries(session: Session, row: RolloutRow) -> Sequence[Entry]:
    return session.execute(
        select(RolloutDeviceRow, DeviceRow)
        .join(DeviceRow, DeviceRow.id == RolloutDeviceRow.device)
        .where(RolloutDeviceRow.rollout == row.id, RolloutDeviceRow.wave > 0)
        .order_by(RolloutDeviceRow.wave, RolloutDeviceRow.position)
    ).all()


def _is_wanted(row: RolloutRow, entry: RolloutDeviceRow) -> bool:
    """It failed; or it was given back what it had, when the rollout was held, before it could fail."""
    recalled = row.state == "held" and entry.restored_s is not None and entry.standing in PENDING
    return entry.standing in FAILED or recalled


def _reason_against(row: RolloutRow, entry: RolloutDeviceRow, device: DeviceRow) -> str:
    """Why one that is wanted is not sent the version again; empty where it is."""
    if not _is_wanted(row, entry):
        return ""
    sent = assignment(entry.sent)
    if sent is None:
        return entry.reason or "it was never sent the version"
    if device.removed_s is not None or device.decommissioned_s is not None:
        return GONE
    found_bad = quarantine_reason(report_of(device, row.slot), sent.artifact)
    return f"in quarantine on the device: {found_bad}" if found_bad is not None else ""


def _gone(session: Session, row: RolloutRow) -> dict[str, str]:
    """Those that have left the fleet since they were sent the version."""
    entry = RolloutDeviceRow
    gone = select(entry.device, entry.reason).where(entry.rollout == row.id, entry.standing == "removed")
    return {found.device: found.reason for found in session.execute(gone.where(entry.sent.is_not(None)))}


def _refuse_ended(row: RolloutRow, entries: Sequence[Entry]) -> None:
    if row.state in ("running", "paused", "held"):
        return
    failed = ",".join(entry.device for entry, _ in entries if entry.standing in FAILED)
    fix = f"see `wherry rollout show {row.id}`"
    if row.state not in ("queued", "reverting"):
        target = failed or ",".join(entry.device for entry, _ in entries)
        fix = f"start a new one: wherry rollout start {row.model}:{row.version} --target {target}"
    raise Conflict(f"rollout {row.id} is {row.state}: {row.reason}", fix)


def _reopen(
    session: Session,
    row: RolloutRow,
    entries: Sequence[Entry],
    again: list[RolloutDeviceRow],
    left: dict[str, str],
    now_s: float,
) -> None:
    """Raises Conflict where a held rollout cannot be carried on with."""
    if not again:
        device, reason = next(iter(left.items()), ("", ""))
        told = f": {device} {reason}" if device else ", as nobody failed"
        raise Conflict(f"rollout {row.id} cannot be sent to anybody again{told}", "start a new one")
    refuse_moved_on(session, row)
    _refuse_overtaken(session, row)
    refuse(live_overlap(session, row.slot, [entry.device for entry, _ in entries]))
    _end(entries, left, now_s)
    row.state, row.reason, row.ended_s = "running", "", None
    row.wave_opened_s = row.created_s = now_s  # its deadlines begin anew, or they would be a breach at once


def _end(entries: Sequence[Entry], left: dict[str, str], now_s: float) -> None:
    """Who was recalled before it had ended, and is not sent it again, ends here: nothing it says later counts."""
    for entry, device in entries:
        if entry.device in left and entry.standing in PENDING and entry.restored_s is not None:
            gone = device.removed_s is not None or device.decommissioned_s is not None
            entry.standing, entry.reason = "removed" if gone else "rejected", left[entry.device]
            entry.standing_s = now_s


def _refuse_overtaken(session: Session, row: RolloutRow) -> None:
    """Raises Conflict where a newer rollout has sent one of the devices something else, which it still is to have."""
    mine, theirs = aliased(RolloutDeviceRow), aliased(RolloutDeviceRow)
    newer = (
        select(RolloutRow.id, theirs.device)
        .join(theirs, theirs.rollout == RolloutRow.id)
        .join(mine, mine.device == theirs.device)
        .where(mine.rollout == row.id, mine.wave > 0, RolloutRow.id > row.id, RolloutRow.slot == row.slot)
        .where(theirs.sent.is_not(None), theirs.restored_s.is_(None))
        .order_by(RolloutRow.id)
    )
    found = session.execute(newer.limit(1)).first()
    if found is not None:
        raise Conflict(f"{found.device} was sent something else since, by rollout {found.id}", "start a new one")
