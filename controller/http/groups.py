"""`/groups`: queries over the fleet, saved under names."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.query import MAX_CHARACTERS
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.operations import groups
from wherry.protocol.types import Struct

router = APIRouter(prefix="/groups", tags=["groups"])


class GroupQuery(Struct, frozen=True, kw_only=True):
    query: Annotated[str, msgspec.Meta(max_length=MAX_CHARACTERS)]


@router.get("")
async def list_groups(
    desk: AtDesk, after: str = Query("", max_length=64), limit: int = Query(200, ge=1, le=1000)
) -> Response:
    """The groups by name, with the number of devices that each means now; those `after` a name, `limit` of them."""
    return answer(await desk.ledger.run(groups.list_groups, after=after, limit=limit))


@router.get("/{name}")
async def get_group(name: str, desk: AtDesk) -> Response:
    """One group."""
    return answer(await desk.ledger.run(groups.get_group, name))


@router.put("/{name}")
async def put_group(name: str, request: Request, desk: AtDesk) -> Response:
    """Save the query under the name: 201 where it is new. Rollouts that were started keep what the name meant."""
    body = await read_json(request, GroupQuery)
    found = await desk.ledger.run(groups.put_group, name, body.query, now_s=desk.now_s(), actor=desk.actor)
    return answer(found, 201 if found.created else 200)


@router.delete("/{name}")
async def delete_group(name: str, desk: AtDesk) -> Response:
    """Forget the name; no rollout changes by it."""
    await desk.ledger.run(groups.delete_group, name, now_s=desk.now_s(), actor=desk.actor)
    return answer({"group": name, "deleted": True})
