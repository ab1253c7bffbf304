"""Lists in pages: `limit` entries, then `Link: <…>; rel="next"` with a cursor (RFC 8288). The body is a plain list.

Rules upheld here:
- A cursor names the last entry that was given, by its key, not by its place: entries that are made or deleted between
  two pages are neither repeated nor skipped.
- What is in a cursor is nobody's business: a client follows the link. One from another list is refused.
- The link keeps all other parameters of the request; without one that was the last page.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from urllib.parse import quote

import msgspec
from fastapi import Query, Request
from starlette.responses import Response

from wherry.controller.errors import Invalid
from wherry.controller.http.bodies import answer

T = TypeVar("T")
K = TypeVar("K", int, str)

MAX_CURSOR_CHARACTERS = 600

Cursor = Annotated[
    str | None,
    Query(max_length=MAX_CURSOR_CHARACTERS, description="From the `Link` of the page before; not to be made up."),
]
Limit = Annotated[int | None, Query(ge=1, le=1000, description="Entries on a page.")]


def encode(name: str, key: int | str) -> str:
    """`name` is that of the list."""
    return base64.urlsafe_b64encode(msgspec.json.encode((name, key))).decode().rstrip("=")


def decode(name: str, cursor: str, kind: type[K]) -> K:
    """The key of the last entry that was given. Raises Invalid for what `encode` has not made for this list."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, key = msgspec.json.decode(data, type=tuple[str, kind])  # type: ignore[valid-type]
        str(key).encode()
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise Invalid(
            "query.cursor: not a cursor", "follow the link of the page before, or begin without one"
        ) from error
    if of != name or "\0" in str(key):
        raise Invalid(f"query.cursor: not one of {name}", "follow the link of the page before, or begin without one")
    return key


def after(name: str, cursor: str | None, kind: type[K]) -> K | None:
    """As `decode`; None for the first page."""
    return None if cursor is None else decode(name, cursor, kind)


def page(
    request: Request,
    name: str,
    found: Sequence[T],
    limit: int | None,
    key: Callable[[T], int | str],
    show: Callable[[T], object] = lambda entry: entry,
) -> Response:
    """`found` is one more than `limit` where there is more. `key` is what the list is ordered by."""
    if limit is None or len(found) <= limit:
        return answer([show(entry) for entry in found])
    given = found[:limit]
    url = request.url.remove_query_params("after").include_query_params(cursor=encode(name, key(given[-1])))
    link = f'<{quote(url.path)}?{url.query}>; rel="next"'
    return answer([show(entry) for entry in given], Link=link)


def one_more(limit: int | None) -> int | None:
    """What is to be looked up to know whether there is more."""
    return None if limit is None else limit + 1
