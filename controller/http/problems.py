"""Errors as problem details (RFC 9457): one table from error class to status."""

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from wherry.controller.errors import Conflict, ControllerError, Invalid, NotFound, Unavailable
from wherry.controller.http.access import Forbidden, Unknown
from wherry.controller.http.bodies import BodyTooLarge
from wherry.protocol.errors import MessageError

STATUS: dict[type[Exception], tuple[int, str]] = {
    Unknown: (401, "not known"),
    Forbidden: (403, "not allowed"),
    NotFound: (404, "not found"),
    Conflict: (409, "not possible now"),
    BodyTooLarge: (413, "too large"),
    Invalid: (422, "not valid"),
    MessageError: (422, "not valid"),
    Unavailable: (503, "not available"),
    OverflowError: (422, "not valid"),
}
"""The first class that fits is taken, so a subclass stands before its base. The database raises
OverflowError for a number that no row can have, which nobody but the caller can have sent."""

MEDIA_TYPE = "application/problem+json"

_log = structlog.get_logger(__name__)


def problem(status: int, title: str, detail: str, fix: str = "") -> Response:
    body: dict[str, object] = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    if fix:
        body["fix"] = fix
    return Response(msgspec.json.encode(body), status, media_type=MEDIA_TYPE)


def of(error: Exception) -> Response:
    """The problem for one of our errors; 500 for a class that the table does not know."""
    for kind, (status, title) in STATUS.items():
        if isinstance(error, kind):
            answer = problem(status, title, *_words(error))
            if status == 401:
                answer.headers["WWW-Authenticate"] = 'Bearer realm="wherry"'
            return answer
    return problem(500, "internal error", "a bug of ours; the controller's log has it")


def _words(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do where that is known."""
    if isinstance(error, ControllerError):
        return error.message, error.fix
    if isinstance(error, OverflowError):
        return "a number is larger than any that can be kept", "send one below 2**63"
    return str(error), ""


def install(app: FastAPI) -> None:
    """Let every error of `app` come out as a problem."""

    async def known(_request: Request, error: Exception) -> Response:
        return of(error)

    async def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = problem(error.status_code, str(error.detail).lower(), f"{_request.method} {_request.url.path}")
        answer.headers.update(error.headers or {})
        return answer

    async def parameters(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return problem(422, "not valid", f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")

    async def bug(request: Request, error: Exception) -> Response:
        _log.error("a request failed", path=request.url.path, exc_info=error)
        return of(error)

    for kind in STATUS:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, parameters)

    async def gone(_request: Request, _error: Exception) -> Response:
        return problem(400, "incomplete", "the client left before the body was complete")

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, bug)
