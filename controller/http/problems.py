"""Errors as problem details (RFC 9457): one table from error class to problem.

Rules upheld here:
- `type` is what programs compare. Words that people read may change, a type never does.
- What the framework refuses is a problem as well.
"""

from http import HTTPStatus
from typing import NamedTuple

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from wherry.controller.errors import Conflict, ControllerError, Invalid, NotFound, Unavailable
from wherry.controller.http.access import Forbidden, Unknown
from wherry.controller.http.bodies import BodyTooLarge
from wherry.protocol.errors import MessageError


class Kind(NamedTuple):
    """`name` is the end of the type, `urn:wherry:problem:not-found`; it is released, and stays."""

    status: int
    title: str
    name: str


INVALID = Kind(422, "not valid", "invalid")
BUG = Kind(500, "internal error", "internal")

STATUS: dict[type[Exception], Kind] = {
    Unknown: Kind(401, "not known", "unauthenticated"),
    Forbidden: Kind(403, "not allowed", "forbidden"),
    NotFound: Kind(404, "not found", "not-found"),
    Conflict: Kind(409, "not possible now", "conflict"),
    BodyTooLarge: Kind(413, "too large", "too-large"),
    Invalid: INVALID,
    MessageError: INVALID,
    Unavailable: Kind(503, "not available", "unavailable"),
    OverflowError: INVALID,
    DataError: INVALID,
}
"""The first class that fits is taken, so a subclass stands before its base. The database raises
OverflowError for a number that no row can have, which nobody but the caller can have sent."""

TYPE_PREFIX = "urn:wherry:problem:"
MEDIA_TYPE = "application/problem+json"

_log = structlog.get_logger(__name__)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, once: `type` names the kind, `instance` the resource that was asked, `fix` what to do."""

    type: str
    status: int
    title: str
    detail: str
    instance: str
    fix: str = ""


def problem(request: Request, kind: Kind, detail: str, fix: str = "") -> Response:
    body = Problem(
        type=TYPE_PREFIX + kind.name,
        status=kind.status,
        title=kind.title,
        detail=_readable(detail),
        instance=_instance(request),
        fix=_readable(fix),
    )
    return Response(msgspec.json.encode(body), kind.status, media_type=MEDIA_TYPE)


def _readable(text: str) -> str:
    """What is told may quote what was sent, which need not be text."""
    return text.encode(errors="backslashreplace").decode()


def _instance(request: Request) -> str:
    """The path as it was sent, without the query, in which secrets may stand."""
    sent: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return sent.partition(b"?")[0].decode("ascii", "backslashreplace")


def of(request: Request, error: Exception) -> Response:
    """The problem for one of our errors; 500 for a class that the table does not know."""
    for known, kind in STATUS.items():
        if isinstance(error, known):
            answer = problem(request, kind, *_words(error))
            if kind.status == 401:
                answer.headers["WWW-Authenticate"] = 'Bearer realm="wherry"'
            return answer
    return problem(request, BUG, "a bug of ours; the controller's log has it")


def _words(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do where that is known."""
    if isinstance(error, ControllerError):
        return error.message, error.fix
    if isinstance(error, OverflowError | DataError):
        return "a number is larger than any that can be kept", "send one below 2**63"
    return str(error), ""


def _of_framework(error: HTTPException) -> Kind:
    """The type that our own error of this status has, or the status's own name: `method-not-allowed`."""
    ours = next((kind.name for kind in STATUS.values() if kind.status == error.status_code), None)
    phrase = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return Kind(error.status_code, str(error.detail).lower(), ours or phrase)


def install(app: FastAPI) -> None:
    """Let every error of `app` come out as a problem."""

    async def known(request: Request, error: Exception) -> Response:
        return of(request, error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = problem(request, _of_framework(error), f"{request.method} {request.url.path}")
        answer.headers.update(error.headers or {})
        return answer

    async def parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return problem(request, INVALID, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")

    async def bug(request: Request, error: Exception) -> Response:
        _log.error("a request failed", path=request.url.path, exc_info=error)
        return of(request, error)

    for kind in STATUS:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, parameters)

    async def gone(request: Request, _error: Exception) -> Response:
        return problem(request, Kind(400, "incomplete", "incomplete"), "the client left before the body was complete")

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, bug)
