"""`/logs`: the lines that devices sent, of one device or of all."""

from typing import get_args

from fastapi import APIRouter, Query
from starlette.responses import Response

from wherry.controller.errors import Invalid
from wherry.controller.http.bodies import answer
from wherry.controller.http.desk import AtDesk
from wherry.controller.operations import devices
from wherry.protocol.types import MAX_COUNT
from wherry.protocol.up.log import Level

router = APIRouter(prefix="/logs", tags=["devices"])


@router.get("")
async def get_logs(
    desk: AtDesk,
    device: str | None = Query(None, max_length=64),
    after_id: int | None = Query(None, ge=0, le=MAX_COUNT),
    level: str = "debug",
    max_lines: int = Query(devices.DEFAULT_LINES, ge=1, le=5000),
) -> Response:
    """The newest lines; or, to follow, those after the line `after_id`."""
    chosen = next((known for known in get_args(Level) if known == level), None)
    if chosen is None:
        raise Invalid(f"no log level {level!r}", f"use one of {', '.join(get_args(Level))}")
    lines = await desk.ledger.run(devices.get_logs, device, after_id=after_id, level=chosen, max_lines=max_lines)
    return answer(lines)
