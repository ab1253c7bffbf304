"""API tokens: made, known again, revoked.

Rules upheld here:
- The token itself is in no row, no audit detail and no list: what is kept is its SHA-256 digest. It has 256 random
  bits, so a fast hash is enough. It is looked up by that digest, so no comparison of secrets takes a time that tells
  of them: whoever measures one would learn of digests, and of none can a token be made.
- A name is used once, so that it means one token in the audit log for ever.
- Once there was a token, callers need one, also when all have expired or are revoked: revoking never opens the door.
"""

import hashlib
import math
from collections.abc import Callable

from sqlalchemy import select

from wherry.controller.core.roles import ROLES, Role
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import audit
from wherry.controller.store.database import Database
from wherry.controller.store.tables import TokenRow
from wherry.protocol.types import Struct, is_name

PREFIX = "wherry_"
"""By which scanners of repositories find one that got lost."""

TOKEN_BYTES = 32


class TokenView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    name: str
    role: Role
    created_s: float
    created_by: str
    expires_s: float | None
    revoked_s: float | None


class NewToken(TokenView, frozen=True, kw_only=True, omit_defaults=False):
    token: str


class Caller(Struct, frozen=True, kw_only=True):
    name: str
    role: Role


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def create(
    db: Database,
    name: str,
    role: Role,
    *,
    expires_s: float | None,
    now_s: float,
    actor: str,
    random_hex: Callable[[int], str],
) -> NewToken:
    """The one time that the token is shown. Raises Invalid, or Conflict where the name was used before."""
    _check(name, role, expires_s, now_s)
    token = PREFIX + random_hex(TOKEN_BYTES)
    row = TokenRow(
        name=name,
        digest=digest(token),
        role=role,
        created_s=now_s,
        created_by=actor,
        expires_s=expires_s,
        revoked_s=None,
    )
    with db.write() as session:
        if session.get(TokenRow, name) is not None:
            raise Conflict(f"a token had the name {name!r} before", "choose another: the audit log knows it by this")
        session.add(row)
        audit.record(session, "token-create", name, now_s=now_s, actor=actor, role=role, expires_s=expires_s)
    return NewToken(
        name=name, role=role, created_s=now_s, created_by=actor, expires_s=expires_s, revoked_s=None, token=token
    )


def revoke(db: Database, name: str, *, now_s: float, actor: str) -> TokenView:
    """No call with it is answered from now on. Idempotent."""
    with db.write() as session:
        row = session.get(TokenRow, name)
        if row is None:
            raise NotFound(f"no token {name!r}", "see `wherry tokens list`")
        if row.revoked_s is None:
            row.revoked_s = now_s
            audit.record(session, "token-revoke", name, now_s=now_s, actor=actor)
        return _view(row)


def list_tokens(db: Database, *, after: str = "", limit: int | None = None) -> list[TokenView]:
    """All that there ever were, by name; those `after` a name, `limit` of them."""
    with db.read() as session:
        wanted = select(TokenRow).where(TokenRow.name > after).order_by(TokenRow.name).limit(limit)
        return [_view(row) for row in session.scalars(wanted)]


def in_use(db: Database) -> bool:
    """Whether there ever was a token."""
    with db.read() as session:
        return session.scalar(select(TokenRow.name).limit(1)) is not None


def find_caller(db: Database, token: str, *, now_s: float) -> Caller | None:
    """Whose token it is; None for one that does not exist, has expired or was revoked."""
    with db.read() as session:
        row = session.scalar(select(TokenRow).where(TokenRow.digest == digest(token)))
        if row is None or row.revoked_s is not None or (row.expires_s is not None and row.expires_s <= now_s):
            return None
        return Caller(name=row.name, role=known_role(row.role))


def _check(name: str, role: str, expires_s: float | None, now_s: float) -> None:
    known_name(name)
    if name in (audit.ENGINE, audit.LOCAL):
        raise Invalid(f"{name!r} is a name of the audit log's own", "choose another")
    known_role(role)
    if expires_s is not None and not (math.isfinite(expires_s) and expires_s > now_s):
        raise Invalid("the token would have expired before it is used", "let it expire later")


def known_name(text: str) -> str:
    """`text`. Raises Invalid where no token can have this name."""
    if not is_name(text):
        raise Invalid(f"not a name for a token: {text!r}", "use lower case letters, digits, dots and hyphens")
    return text


def known_role(text: str) -> Role:
    """`text`. Raises Invalid where no role has this name."""
    for role in ROLES:
        if role == text:
            return role
    raise Invalid(f"no role {text!r}", f"use one of {', '.join(ROLES)}")


def _view(row: TokenRow) -> TokenView:
    return TokenView(
        name=row.name,
        role=known_role(row.role),
        created_s=row.created_s,
        created_by=row.created_by,
        expires_s=row.expires_s,
        revoked_s=row.revoked_s,
    )
