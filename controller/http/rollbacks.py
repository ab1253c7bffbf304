"""`/rollbacks`: the whole fleet, or a part of it, back to a version, at once."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from wherry.controller.core.plan import Positive, Target
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.http.keys import IdempotencyKey
from wherry.controller.operations.rollback import DEADLINE_S, rollback
from wherry.protocol.types import Name, Struct

router = APIRouter(prefix="/rollbacks", tags=["rollouts"])


class NewRollback(Struct, frozen=True, kw_only=True):
    """Without a version: the one that the fleet ran before. `pinned`: devices on which the slot is pinned as well."""

    model: Name
    version: Positive | None = None
    slot: Name = "main"
    target: Target | None = None
    device_deadline_s: Annotated[float, msgspec.Meta(gt=0)] = DEADLINE_S
    pinned: bool = False


@router.post("")
async def start(request: Request, desk: AtDesk, idempotency_key: IdempotencyKey = None) -> Response:
    """Begin it: 201; what comes back is watched as a rollout. Where the same is under way, or has the key: 200."""
    body = await read_json(request, NewRollback)
    found = await desk.ledger.run(
        rollback,
        body.model,
        body.version,
        slot=body.slot,
        target=body.target,
        device_deadline_s=body.device_deadline_s,
        pinned=body.pinned,
        key=idempotency_key,
        now_s=desk.now_s(),
        actor=desk.actor,
    )
    desk.helm.wake()
    return answer(found, 201 if found.created else 200, Location=f"/api/v1/rollouts/{found.id}")
