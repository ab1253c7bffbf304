"""The desired documents: changed in the transaction of whoever decides, published after it.

The database holds every intent; the broker's retained copy may be lost at any time. Whoever
publishes asks `pending_publications` after every change and on a timer, and tells `mark_published`.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, or_, select, tuple_, update
from sqlalchemy.orm import Session

from wherry.controller.operations.documents import assignments
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
    order = tuple_(DesiredRow.epoch, DesiredRow.generation)
    behind = tuple_(DeviceRow.reported_epoch, DeviceRow.reported_generation) < order
    other = tuple_(DesiredRow.published_epoch, DesiredRow.published_generation) != order
    due = or_(other, DesiredRow.published_s.is_(None), DesiredRow.published_s <= now_s - republish_after_s)
    with db.read() as session:
        return [_publication(row, artifacts_url) for row in _documents(session, behind, due)]


def all_publications(db: Database, *, artifacts_url: str | None = None) -> list[Publication]:
    """Every device's document: for a broker that has lost what it retained."""
    with db.read() as session:
        return [_publication(row, artifacts_url) for row in _documents(session)]


def mark_published(db: Database, published: Iterable[tuple[str, Desired]], *, now_s: float) -> None:
    """Record that the broker has taken these documents of these devices. Ignored where a newer one was marked."""
    row = DesiredRow.__table__.c
    epoch: ColumnElement[int] = bindparam("its_epoch")
    generation: ColumnElement[int] = bindparam("its_generation")
    newer = tuple_(epoch, generation) >= tuple_(row.published_epoch, row.published_generation)
    marked = {"published_epoch": epoch, "published_generation": generation, "published_s": now_s}
    statement = update(DesiredRow.__table__).where(row.device == bindparam("of"), newer).values(marked)  # type: ignore[arg-type]
    told = [{"of": name, "its_epoch": made.epoch, "its_generation": made.generation} for name, made in published]
    with db.write() as session:
        if told:
            session.connection().execute(statement, told)


def _documents(session: Session, *only: ColumnElement[bool]) -> Iterable[Row[Any]]:
    """The database leaves out what is not asked for: this is read at every turn, and mostly there is nothing."""
    row = DesiredRow
    wanted: Select[*tuple[Any, ...]] = select(
        row.device, row.epoch, row.generation, row.slots, row.published_epoch, row.published_generation,
        row.published_s,
    )  # fmt: skip
    known = wanted.join(DeviceRow, DeviceRow.id == row.device).where(*IN_SERVICE, *only)
    return session.execute(known.order_by(row.device))


def _publication(row: Row[Any], artifacts_url: str | None) -> Publication:
    current = (row.published_epoch, row.published_generation) == (row.epoch, row.generation)
    published_s = row.published_s if current else None
    document = Desired(
        epoch=row.epoch, generation=row.generation, slots=assignments(row.slots), artifacts_url=artifacts_url
    )
    return Publication(device=row.device, desired=document, published_s=published_s)
