"""`/groups`: queries over the fleet, saved under names."""

from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.query import MAX_CHARACTERS
from wherry.controller.http import paging
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.http.etags import IfMatch, IfNoneMatch, change, look
from wherry.controller.http.paging import Cursor, page
from wherry.controller.operations import groups, revisions
from wherry.controller.operations.revisions import Revision
from wherry.protocol.types import Struct

router = APIRouter(prefix="/groups", tags=["groups"])


class GroupQuery(Struct, frozen=True, kw_only=True):
    query: Annotated[str, msgspec.Meta(max_length=MAX_CHARACTERS)]


@router.get("")
async def list_groups(
    request: Request,
    desk: AtDesk,
    after: str = Query("", max_length=64),
    cursor: Cursor = None,
    limit: int = Query(200, ge=1, le=1000),
) -> Response:
    """The groups by name, in pages, with the number of devices that each means now; those `after` a name."""
    start = paging.after("groups", cursor, str) or after
    found = await desk.ledger.run(groups.list_groups, after=start, limit=limit + 1)
    return page(request, "groups", found, limit, lambda group: group.name)


@router.get("/{name}")
async def get_group(name: str, desk: AtDesk, if_none_match: IfNoneMatch = None) -> Response:
    """One group."""
    return await look(desk, if_none_match, _revision(name), partial(groups.get_group, name=name))


@router.put("/{name}")
async def put_group(name: str, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Save the query under the name: 201 where it is new. Rollouts that were started keep what the name meant."""
    body = await read_json(request, GroupQuery)
    now_s, query = desk.now_s(), body.query
    found = await change(desk, if_match, _revision(name), groups.put_group, name, query, now_s=now_s, actor=desk.actor)
    return answer(found, 201 if found.created else 200)


@router.delete("/{name}")
async def delete_group(name: str, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Forget the name; no rollout changes by it."""
    now_s = desk.now_s()
    await change(desk, if_match, _revision(name), groups.delete_group, name, now_s=now_s, actor=desk.actor)
    return answer({"group": name, "deleted": True})


def _revision(name: str) -> Revision:
    return partial(revisions.of_group, name=name)
