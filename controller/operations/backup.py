"""A backup that takes over: what must change in it, so that the fleet follows it.

Rules upheld here (docs/decisions/0019-a-restored-backup.md):
- A new epoch begins, above every one that a device can have seen since the backup was taken: also after a second
  restore of the same backup, since it is not counted on from the backup but read from the clock.
- Every device is ordered anew what the backup wants of it.
- Rollouts that were under way wait for an operator, who knows what has been learnt since. What was being taken back
  goes on being taken back.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.operations import audit
from wherry.controller.operations.documents import current_epoch, order_anew
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, DeviceRow, MetaRow, RolloutRow
from wherry.protocol.types import Struct

PAUSED = "paused because it comes from a backup; resume it if its version is still wanted"


class TakenOver(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The `epoch` that was begun, how many devices were `ordered` anew, and the rollouts that were `paused`."""

    epoch: int
    ordered: int
    paused: tuple[int, ...]


def take_over(db: Database, *, now_s: float, actor: str) -> TakenOver:
    """Make the database the one that the fleet follows. Not idempotent: each time is a new epoch."""
    with db.write() as session:
        epoch = max(current_epoch(session) + 1, int(now_s))
        session.get_one(MetaRow, "epoch").value = str(epoch)
        session.flush()
        ordered = _order_all(session, now_s)
        paused = _pause_all(session)
        done = TakenOver(epoch=epoch, ordered=ordered, paused=paused)
        audit.record(
            session, "backup-restored", "controller", now_s=now_s, actor=actor, epoch=epoch, paused=list(paused)
        )
        return done


def _order_all(session: Session, now_s: float) -> int:
    rows = session.scalars(select(DesiredRow).order_by(DesiredRow.device)).all()
    for row in rows:
        device = session.get_one(DeviceRow, row.device)
        order_anew(session, row, device, (device.reported_epoch, device.reported_generation), now_s=now_s)
    return len(rows)


def _pause_all(session: Session) -> tuple[int, ...]:
    rows = session.scalars(select(RolloutRow).where(RolloutRow.state == "running").order_by(RolloutRow.id)).all()
    for row in rows:
        row.state, row.reason = "paused", PAUSED
    return tuple(row.id for row in rows)
