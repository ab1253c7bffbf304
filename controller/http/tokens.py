"""`/tokens`: who may call the API, and as what."""

import secrets
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from wherry.controller.core.roles import Role
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.http.paging import Cursor, Limit, after, one_more, page
from wherry.controller.operations import tokens
from wherry.protocol.types import Name, Struct

router = APIRouter(prefix="/tokens", tags=["tokens"])

MAX_LIFE_S = 100 * 365 * 86_400.0


class TokenOrder(Struct, frozen=True, kw_only=True):
    """Without `expires_in_s` it is valid until it is revoked."""

    name: Name
    role: Role
    expires_in_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_LIFE_S)] | None = None


@router.post("")
async def create_token(request: Request, desk: AtDesk) -> Response:
    """Make a token: 201. It is shown in this answer and never again."""
    body = await read_json(request, TokenOrder)
    now_s = desk.now_s()
    expires_s = None if body.expires_in_s is None else now_s + body.expires_in_s
    made = await desk.ledger.run(
        tokens.create,
        body.name,
        body.role,
        expires_s=expires_s,
        now_s=now_s,
        actor=desk.actor,
        random_hex=secrets.token_hex,
    )
    return answer(made, 201, Cache_Control="no-store")


@router.get("")
async def list_tokens(request: Request, desk: AtDesk, cursor: Cursor = None, limit: Limit = None) -> Response:
    """All that there ever were, by name, with role and expiry; none of the tokens themselves. In pages of `limit`."""
    start = after("tokens", cursor, str) or ""
    found = await desk.ledger.run(tokens.list_tokens, after=start, limit=one_more(limit))
    return page(request, "tokens", found, limit, lambda token: token.name)


@router.delete("/{name}")
async def revoke_token(name: str, desk: AtDesk) -> Response:
    """No call with it is answered from now on. Idempotent."""
    return answer(await desk.ledger.run(tokens.revoke, name, now_s=desk.now_s(), actor=desk.actor))
