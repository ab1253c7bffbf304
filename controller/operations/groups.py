"""Groups: queries over the fleet that are saved under a name, and stand for themselves wherever a query does.

Rules upheld here:
- A group's query names no groups, so none can mean itself.
- A rollout that was planned has the query and not the name: moving or deleting a group changes no rollout.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.plan import Target
from wherry.controller.core.query import groups_of, parse_query
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.operations import audit
from wherry.controller.operations.fleet import meant
from wherry.controller.store.database import Database
from wherry.controller.store.tables import GroupRow
from wherry.protocol.types import Struct, is_name


class GroupView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`devices` are those in service that it means now, as a number."""

    name: str
    query: str
    devices: int
    changed_s: float
    changed_by: str
    created: bool = False


def put_group(db: Database, name: str, query: str, *, now_s: float, actor: str) -> GroupView:
    """Save the query under the name, in place of what it meant. Idempotent. Raises Invalid, with the column."""
    _check(name, query)
    with db.write() as session:
        row = session.get(GroupRow, name)
        created = row is None
        if row is None:
            row = GroupRow(name=name, query="", changed_s=now_s, changed_by=actor)
            session.add(row)
        if row.query != query:
            audit.record(session, "group-set", f"@{name}", now_s=now_s, actor=actor, before=row.query, query=query)
            row.query, row.changed_s, row.changed_by = query, now_s, actor
        return _view(session, row, created=created)


def get_group(db: Database, name: str) -> GroupView:
    """Raises NotFound."""
    with db.read() as session:
        return _view(session, _find(session, name))


def list_groups(db: Database, *, after: str = "", limit: int | None = None) -> list[GroupView]:
    """By name; those `after` a name, `limit` of them."""
    with db.read() as session:
        wanted = select(GroupRow).where(GroupRow.name > after).order_by(GroupRow.name).limit(limit)
        return [_view(session, row) for row in session.scalars(wanted).all()]


def delete_group(db: Database, name: str, *, now_s: float, actor: str) -> None:
    """Raises NotFound."""
    with db.write() as session:
        row = _find(session, name)
        audit.record(session, "group-deleted", f"@{name}", now_s=now_s, actor=actor, before=row.query)
        session.delete(row)


def _check(name: str, query: str) -> None:
    if not is_name(name):
        raise Invalid(f"not a group: {name[:200]!r}", "names have lower case letters, digits, dots and hyphens")
    parse_query(query)
    named = groups_of(query)
    if named:
        what = f"column {named[0].column} of the query: a group does not name groups, and this is @{named[0].name}"
        raise Invalid(what, "write its query instead")


def _find(session: Session, name: str) -> GroupRow:
    row = session.get(GroupRow, name)
    if row is None:
        raise NotFound(f"no group @{name[:200]}", "see `wherry groups`")
    return row


def _view(session: Session, row: GroupRow, *, created: bool = False) -> GroupView:
    return GroupView(
        name=row.name,
        query=row.query,
        devices=sum(1 for _ in meant(session, Target(query=row.query))),
        changed_s=row.changed_s,
        changed_by=row.changed_by,
        created=created,
    )
