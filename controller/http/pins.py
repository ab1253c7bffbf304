"""`/pins` and `/devices/{device}/pins/{slot}`: slots that no rollout moves."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.operations import pins
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


@router.put("/devices/{device}/pins/{slot}")
async def pin(device: Device, slot: Slot, request: Request, desk: AtDesk) -> Response:
    """Let no rollout and no rollback that begins from now on move the slot. Idempotent."""
    body = await read_json(request, NewPin)
    found = await desk.ledger.run(pins.pin, device, slot, reason=body.reason, now_s=desk.now_s(), actor=desk.actor)
    return answer(found)


@router.delete("/devices/{device}/pins/{slot}")
async def unpin(device: Device, slot: Slot, desk: AtDesk) -> Response:
    """Let it be moved again. Idempotent."""
    was_pinned = await desk.ledger.run(pins.unpin, device, slot, now_s=desk.now_s(), actor=desk.actor)
    return answer({"device": device, "slot": slot, "was_pinned": was_pinned})
