"""The same request again is the same rollout: what a client's own key was used for.

Rule upheld here: what is compared is what was asked, not what it came to. So an alias that was moved meanwhile
makes no other request of it.
"""

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.errors import Conflict
from wherry.controller.store.tables import RolloutRow
from wherry.protocol.blob import sha256
from wherry.protocol.types import Struct


class Request(Struct, frozen=True, kw_only=True):
    """`digest` is None where the client gave no key, since nobody will compare it."""

    key: str | None = None
    digest: str | None = None


def request_of(key: str | None, *asked: object) -> Request:
    """`asked` is all that the request said, and of which kind it is."""
    if key is None:
        return Request()
    return Request(key=key, digest=sha256(msgspec.json.encode(asked, order="deterministic")))


def find_same(session: Session, request: Request) -> RolloutRow | None:
    """What the same request came to. Raises Conflict where its key was used for another one."""
    if request.key is None:
        return None
    row = session.scalars(select(RolloutRow).where(RolloutRow.key == request.key)).one_or_none()
    if row is not None and row.request != request.digest:
        raise Conflict(f"the key {request.key!r} is that of another request, rollout {row.id}", "use a key of its own")
    return row
