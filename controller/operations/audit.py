"""Who did what, when: written by the operation itself, in its transaction."""

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.store.database import Database
from wherry.controller.store.tables import AuditRow
from wherry.protocol.types import Struct

ENGINE = "engine"
"""The actor of what rollouts do by themselves."""

LOCAL = "operator"
"""The actor of a caller without a token, on a controller that asks for none."""


class AuditView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    id: int
    at_s: float
    actor: str
    action: str
    subject: str
    detail: dict[str, object]


def record(session: Session, action: str, subject: str, *, now_s: float, actor: str, **detail: object) -> None:
    """Add an audit row to the transaction of the change that it tells of."""
    body = msgspec.json.encode(detail)
    session.add(AuditRow(at_s=now_s, actor=actor, action=action, subject=subject, detail=body))


def list_audit(
    db: Database,
    *,
    subject: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    before_id: int | None = None,
    max_rows: int = 200,
) -> list[AuditView]:
    """Newest first; of one subject, actor and action, and `before_id`, where those are given."""
    wanted = select(AuditRow).order_by(AuditRow.id.desc()).limit(max_rows)
    for column, value in ((AuditRow.subject, subject), (AuditRow.actor, actor), (AuditRow.action, action)):
        if value is not None:
            wanted = wanted.where(column == value)
    if before_id is not None:
        wanted = wanted.where(AuditRow.id < before_id)
    with db.read() as session:
        return [view(row) for row in session.scalars(wanted)]


def view(row: AuditRow) -> AuditView:
    detail = msgspec.json.decode(row.detail, type=dict[str, object])
    return AuditView(id=row.id, at_s=row.at_s, actor=row.actor, action=row.action, subject=row.subject, detail=detail)
