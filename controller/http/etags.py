"""`ETag`, `If-None-Match` and `If-Match` (RFC 9110): read again only what is new, change only what was seen.

Rules upheld here:
- A tag is `"REVISION.CONTENT"`. The content is that of the body: the same tag is the same bytes, so 304 is never stale.
- For `If-Match` the revision alone counts (`operations.revisions`): a report of a device, which changes the body of a
  rollout every second, refuses no order. The revision alone, as a 412 tells it, does as well.
- Without `If-Match` a change is done as ever.
- A weak tag proves nothing, and matches no `If-Match`.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Concatenate, ParamSpec, TypeVar

import msgspec
from fastapi import FastAPI, Header, Request
from starlette.responses import Response

from wherry.controller.errors import Changed, Invalid
from wherry.controller.http import problems
from wherry.controller.http.desk import Desk
from wherry.controller.operations.revisions import ANY, Revision, guarded
from wherry.controller.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")

CHANGED = problems.Kind(412, "changed meanwhile", "changed")

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=2000,
        description="Tags of the states that the change is meant for, or `*` for any that is there; 412 in another.",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", max_length=2000, description="Tags of what is known; 304 where that is still so."),
]


async def look(desk: Desk, known: str | None, revision: Revision, read: Callable[[Database], object]) -> Response:
    """What `read` gives, with its tag; 304 where the tag is `known`."""
    present, value = await desk.ledger.run(_look, revision, read)
    body = msgspec.json.encode(value)
    content = f"{present}.{hashlib.sha256(body).hexdigest()[:16]}"
    headers = {"ETag": f'"{content}"', "Cache-Control": "no-cache"}
    if known is not None and {content, ANY} & {tag for _, tag in _tags("If-None-Match", known)}:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


async def change(
    desk: Desk,
    if_match: str | None,
    revision: Revision,
    operation: Callable[Concatenate[Database, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run the operation; with `if_match` only in a state that it names. Raises Changed in another."""
    if if_match is None:
        return await desk.ledger.run(operation, *args, **kwargs)
    expected = {tag.partition(".")[0] for weak, tag in _tags("If-Match", if_match) if not weak}

    def work(db: Database) -> T:
        return operation(db, *args, **kwargs)

    return await desk.ledger.run(guarded, expected, revision, work)


def install(app: FastAPI) -> None:
    """Let Changed come out as a problem that has the present tag."""

    async def changed(request: Request, error: Exception) -> Response:
        assert isinstance(error, Changed)
        answer = problems.problem(request, CHANGED, error.message, error.fix)
        if error.present is not None:
            answer.headers["ETag"] = f'"{error.present}"'
        return answer

    app.add_exception_handler(Changed, changed)


def _look(db: Database, revision: Revision, read: Callable[[Database], object]) -> tuple[str | None, object]:
    """The revision is read first: what comes between makes the tag too old, which refuses, and never too new."""
    return revision(db), read(db)


def _tags(header: str, text: str) -> list[tuple[bool, str]]:
    """Whether it is weak, and what is between the quotes. Raises Invalid."""
    if text.strip() == ANY:
        return [(False, ANY)]
    found, at = [], 0
    while at < len(text):
        entry = _TAG.match(text, at)
        if entry is None:
            raise Invalid(
                f"header.{header}: not a list of tags", f'send `{header}: "TAG"` as the ETag was told, or `*`'
            )
        found.append((entry[1] is not None, entry[2]))
        at = entry.end()
    return found
