"""Who is calling, and may they: decided before a handler is run or a body is read.

Rules upheld here:
- Without any token, and on loopback, everybody on the machine may do everything: a first try needs no set-up.
- With the first token, or on an address that other machines reach, every call needs one that is valid now.
- Each route stands in `core.roles`; one that does not is refused.
"""

from fastapi import Request

from wherry.controller.core.roles import LEAST_ROLE, Role, reaches
from wherry.controller.errors import UserError
from wherry.controller.http.desk import Desk
from wherry.controller.operations import audit, tokens
from wherry.controller.operations.tokens import Caller

MAX_TOKEN_CHARACTERS = 200


class Unknown(UserError):
    """The call needs a token, and has none that is valid."""


class Forbidden(UserError):
    """The caller is known, and may not."""


async def admit(request: Request) -> None:
    """Put the caller at `request.state.caller`, None for nobody known. Raises Unknown or Forbidden."""
    desk: Desk = request.app.state.desk
    least = least_role(request)
    caller = await _caller(request, desk)
    request.state.caller = caller
    if least is None:
        return
    if caller is None:
        raise Unknown("this needs a token that is valid", "send `Authorization: Bearer TOKEN`, or set WHERRY_TOKEN")
    if not reaches(caller.role, least):
        raise Forbidden(f"the token {caller.name} is of a {caller.role}", f"this needs the role {least}")


def least_role(request: Request) -> Role | None:
    """What the table says of the route. Raises Forbidden where it says nothing."""
    template = str(request.scope["route"].path).removeprefix("/api/v1")
    try:
        return LEAST_ROLE[request.method, template]
    except KeyError:
        raise Forbidden(f"nobody may call {request.method} {template}", "a bug of ours: no role is laid down") from None


async def _caller(request: Request, desk: Desk) -> Caller | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN_CHARACTERS:
        return await desk.ledger.run(tokens.find_caller, token.strip(), now_s=desk.now_s())
    if scheme or not desk.config.loopback or await desk.ledger.run(tokens.in_use):
        return None
    return Caller(name=audit.LOCAL, role="admin")
