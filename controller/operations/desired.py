"""The desired documents: changed in the transaction of whoever decides, published after it.

The database holds every intent; the broker's retained copy may be lost at any time. Whoever
publishes asks `pending_publications` after every change and on a timer, and tells `mark_published`.
"""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.operations.documents import document
from wherry.controller.operations.fleet import IN_SERVICE
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, DeviceRow
from wherry.protocol.down.desired import Desired
from wherry.protocol.types import Struct

REPUBLISH_AFTER_S = 30.0


class Publication(Struct, frozen=True, kw_only=True):
    """`published_s` is when this very document was last published; None if never."""

    device: str
    desired: Desired
    published_s: float | None


def pending_publications(
    db: Database,
    *,
    now_s: float,
    artifacts_url: str | None = None,
    republish_after_s: float = REPUBLISH_AFTER_S,
) -> list[Publication]:
    """What to publish now: documents never published, and those published `republish_after_s` ago or
    more that the device has still not accepted. With 0, every document that the device lags behind.
    """
    with db.read() as session:
        found = [
            _publication(desired, artifacts_url)
            for desired, device in _documents(session)
            if (device.reported_epoch, device.reported_generation) < (desired.epoch, desired.generation)
        ]
    due_s = now_s - republish_after_s
    return [entry for entry in found if entry.published_s is None or entry.published_s <= due_s]


def all_publications(db: Database, *, artifacts_url: str | None = None) -> list[Publication]:
    """Every device's document: for a broker that has lost what it retained."""
    with db.read() as session:
        return [_publication(desired, artifacts_url) for desired, _ in _documents(session)]


def mark_published(db: Database, published: Iterable[tuple[str, Desired]], *, now_s: float) -> None:
    """Record that the broker has taken these documents of these devices. Ignored where a newer one was marked."""
    with db.write() as session:
        for device, document in published:
            row = session.get(DesiredRow, device)
            order = (document.epoch, document.generation)
            if row is not None and order >= (row.published_epoch, row.published_generation):
                row.published_epoch, row.published_generation = order
                row.published_s = now_s


def _documents(session: Session) -> list[tuple[DesiredRow, DeviceRow]]:
    rows = session.execute(
        select(DesiredRow, DeviceRow)
        .join(DeviceRow, DeviceRow.id == DesiredRow.device)
        .where(*IN_SERVICE)
        .order_by(DesiredRow.device)
    )
    return [(desired, device) for desired, device in rows]


def _publication(row: DesiredRow, artifacts_url: str | None) -> Publication:
    current = (row.published_epoch, row.published_generation) == (row.epoch, row.generation)
    published_s = row.published_s if current else None
    return Publication(device=row.device, desired=document(row, artifacts_url), published_s=published_s)
