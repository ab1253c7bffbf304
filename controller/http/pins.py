"""`/pins` and `/devices/{device}/pins/{slot}`: slots that no rollout moves."""

from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.http.etags import IfMatch, IfNoneMatch, change, look
from wherry.controller.operations import pins, revisions
from wherry.controller.operations.revisions import Revision
from wherry.protocol.types import DEVICE_PATTERN, MAX_REASON_CHARS, NAME_PATTERN, Struct

router = APIRouter(tags=["pins"])

# The rest of these patterns is not in the language of regular expressions that paths are checked by.
Device = Annotated[str, Path(pattern=DEVICE_PATTERN.removesuffix(r"(?![\s\S])") + "$")]
Slot = Annotated[str, Path(pattern=NAME_PATTERN.removesuffix(r"(?![\s\S])") + "$")]


class NewPin(Struct, frozen=True, kw_only=True):
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON_CHARS)]


@router.get("/pins")
async def list_pins(desk: AtDesk) -> Response:
    """All pins, by device and slot."""
    return answer(await desk.ledger.run(pins.list_pins))


@router.get("/devices/{device}/pins/{slot}")
async def get_pin(device: Device, slot: Slot, desk: AtDesk, if_none_match: IfNoneMatch = None) -> Response:
    """Why the slot is pinned, and by whom; 404 where it is not."""
    return await look(desk, if_none_match, _revision(device, slot), partial(pins.get_pin, device=device, slot=slot))


@router.put("/devices/{device}/pins/{slot}")
async def pin(device: Device, slot: Slot, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Let no rollout and no rollback that begins from now on move the slot. Idempotent."""
    body = await read_json(request, NewPin)
    now_s, reason = desk.now_s(), body.reason
    found = await change(
        desk, if_match, _revision(device, slot), pins.pin, device, slot, reason=reason, now_s=now_s, actor=desk.actor
    )
    return answer(found)


@router.delete("/devices/{device}/pins/{slot}")
async def unpin(device: Device, slot: Slot, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Let it be moved again. Idempotent."""
    now_s = desk.now_s()
    was_pinned = await change(
        desk, if_match, _revision(device, slot), pins.unpin, device, slot, now_s=now_s, actor=desk.actor
    )
    return answer({"device": device, "slot": slot, "was_pinned": was_pinned})


def _revision(device: str, slot: str) -> Revision:
    return partial(revisions.of_pin, device=device, slot=slot)
