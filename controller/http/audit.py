"""`/audit`: who did what, when."""

from fastapi import APIRouter, Query
from starlette.responses import Response

from wherry.controller.http.bodies import answer
from wherry.controller.http.desk import AtDesk
from wherry.controller.operations import audit

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("")
async def list_audit(desk: AtDesk, max_rows: int = Query(200, ge=1, le=5000)) -> Response:
    """Newest first."""
    return answer(await desk.ledger.run(audit.list_audit, max_rows=max_rows))
