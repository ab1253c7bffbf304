"""Bodies: read within a limit and decoded strictly; answered as JSON."""

from typing import TypeVar

import msgspec
from fastapi import Request
from starlette.responses import Response

from wherry.controller.errors import Invalid
from wherry.protocol import limits

T = TypeVar("T")

MAX_JSON_BYTES = 4 * limits.KIB * limits.KIB
"""A version's manifest and report; everything else is far smaller."""


class BodyTooLarge(Invalid):
    """More bytes than the resource takes."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than {limit_bytes} bytes", "send less")


async def read_json(request: Request, shape: type[T]) -> T:
    """Decode the body. Raises BodyTooLarge or Invalid."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_JSON_BYTES:
            raise BodyTooLarge(MAX_JSON_BYTES)
    try:
        return msgspec.json.decode(bytes(data), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not right: {error}") from error


def answer(value: object, status: int = 200, **headers: str) -> Response:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(msgspec.json.encode(value), status, headers=names, media_type="application/json")
