"""Who is calling, and may they: decided before a handler is run or a body is read.

Rules upheld here:
- Without any token, and on loopback, everybody on the machine may do everything: a first try needs no set-up. Pages of
  the web that a browser on the machine shows may not: the call must name this machine, and come from no other.
- With the first token, or on an address that other machines reach, every call needs one that is valid now.
- Each route stands in `core.roles`; one that does not is refused.
- Where anybody may call, nobody is looked up: a thousand devices that fetch an artifact are not a thousand reads.
- No name has a NUL in it: what no database keeps is refused before one is asked.
"""

from urllib.parse import urlsplit

from fastapi import Request

from wherry.controller.config import is_loopback
from wherry.controller.core.roles import LEAST_ROLE, Role, reaches
from wherry.controller.errors import Invalid, NotAllowed, NotFound
from wherry.controller.http.desk import Desk
from wherry.controller.operations import audit, tokens
from wherry.controller.operations.tokens import Caller

MAX_TOKEN_CHARACTERS = 200

TELLS_CALLERS_MORE = {("GET", "/status")}
"""Anybody may call these, and who is known learns more."""


class Unknown(NotAllowed):
    """The call needs a token, and has none that is valid."""


class Forbidden(NotAllowed):
    """The caller is known, and may not."""


async def admit(request: Request) -> None:
    """Put the caller at `request.state.caller`, None for nobody known. Raises Unknown or Forbidden."""
    desk: Desk = request.app.state.desk
    request.state.caller = None
    least = least_role(request)
    if least is not None or _route(request) in TELLS_CALLERS_MORE:
        request.state.caller = await _caller(request, desk)
    if least is not None:
        _let_in(request.state.caller, least)
    _check_names(request)


def _let_in(caller: Caller | None, least: Role) -> None:
    if caller is None:
        raise Unknown("this needs a token that is valid", "send `Authorization: Bearer TOKEN`, or set WHERRY_TOKEN")
    if not reaches(caller.role, least):
        raise Forbidden(f"the token {caller.name} is of a {caller.role}", f"this needs the role {least}")


def least_role(request: Request) -> Role | None:
    """What the table says of the route. Raises Forbidden where it says nothing."""
    route = _route(request)
    try:
        return LEAST_ROLE[route]
    except KeyError:
        raise Forbidden(f"nobody may call {' '.join(route)}", "a bug of ours: no role is laid down") from None


def _route(request: Request) -> tuple[str, str]:
    return request.method, str(request.scope["route"].path).removeprefix("/api/v1")


def _check_names(request: Request) -> None:
    for name, value in request.path_params.items():
        if "\0" in str(value):
            raise NotFound(f"no {name} {value!r}", "no name has a NUL in it")
    for name, value in request.query_params.multi_items():
        if "\0" in value:
            raise Invalid(f"query.{name[:200]}: {value[:200]!r} has a NUL in it", "leave it out")


def _is_of_this_machine(request: Request) -> bool:
    """A page of elsewhere sends its Origin, or came by a name of its own that leads here."""
    named = (f"//{request.headers.get('host', '')}", request.headers.get("origin"))
    try:
        return all(is_loopback(urlsplit(text).hostname or "") for text in named if text is not None)
    except ValueError:  # no URL at all
        return False


async def _caller(request: Request, desk: Desk) -> Caller | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN_CHARACTERS:
        return await desk.ledger.run(tokens.find_caller, token.strip(), now_s=desk.now_s())
    if scheme or not desk.config.loopback or not _is_of_this_machine(request) or await desk.ledger.run(tokens.in_use):
        return None
    return Caller(name=audit.LOCAL, role="admin")
