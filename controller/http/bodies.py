"""Bodies: read within a limit and decoded strictly; answered as JSON.

No text has a NUL in it: not every database keeps one. What is kept as bytes, the report of a conversion, is not looked
into.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

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
    data = await _read(request)
    try:
        value = msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not right: {error}") from error
    if rb"\u0000" in data and any("\0" in text for text in _texts(value)):
        raise Invalid("the body is not right: a text has a NUL in it", "leave it out")
    return value


async def _read(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_JSON_BYTES:
            raise BodyTooLarge(MAX_JSON_BYTES)
    return bytes(data)


def _texts(value: Any) -> Iterator[str]:
    """All texts in what was decoded, keys too; it is no deeper than its types."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _texts(getattr(value, name))
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)


def answer(value: object, status: int = 200, **headers: str) -> Response:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(msgspec.json.encode(value), status, headers=names, media_type="application/json")
