"""`/audit`: who did what, when."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.http.desk import AtDesk
from wherry.controller.http.paging import Cursor, after, page
from wherry.controller.operations import audit

router = APIRouter(prefix="/audit", tags=["audit"])

Words = Annotated[str | None, Query(max_length=300)]


@router.get("")
async def list_audit(
    request: Request,
    desk: AtDesk,
    actor: Words = None,
    subject: Words = None,
    action: Words = None,
    cursor: Cursor = None,
    limit: int | None = Query(None, ge=1, le=5000),
    max_rows: int = Query(200, ge=1, le=5000),
) -> Response:
    """Newest first, in pages: of one actor, of one subject as in `digits:3` or `rollout 7`, of one action.

    `max_rows` is what `limit` was called before.
    """
    size = limit or max_rows
    found = await desk.ledger.run(
        audit.list_audit,
        subject=subject,
        actor=actor,
        action=action,
        before_id=after("audit", cursor, int),
        max_rows=size + 1,
    )
    return page(request, "audit", found, size, lambda row: row.id)
