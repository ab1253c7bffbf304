"""What a controller writes as the leading one.

Rules upheld here:
- Each lead is a term, counted in the database. Once another one has begun, nothing is written for an earlier one, also
  where its controller does not know that yet: it slept, or its claim's connection was cut. Writers come one after
  another, so there is no moment in between.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from wherry.controller.errors import Deposed
from wherry.controller.store.database import Database
from wherry.controller.store.tables import MetaRow

TERM = "term"
LEADER = "leader"


class LeaderDatabase(Database):
    """The same database as `db`; every write raises Deposed unless the term that `begin` began is the newest."""

    def __init__(self, db: Database) -> None:
        super().__init__(db.engine)
        self._term: int | None = None

    def begin(self, url: str) -> int:
        """Begin a term, whose leader answers at `url`; its number."""
        with super().write() as session:
            term = int(_value(session, TERM) or 0) + 1
            session.merge(MetaRow(key=TERM, value=str(term)))
            session.merge(MetaRow(key=LEADER, value=url))
        self._term = term
        return term

    @contextmanager
    def write(self) -> Iterator[Session]:
        with super().write() as session:
            if self._term is None or _value(session, TERM) != str(self._term):
                raise Deposed("another controller leads by now", "ask that one")
            yield session


def leader_url(db: Database) -> str:
    """Where the leading controller answers, or the one that led last; empty where none ever did."""
    with db.read() as session:
        return _value(session, LEADER) or ""


def _value(session: Session, key: str) -> str | None:
    row = session.get(MetaRow, key)
    return row.value if row is not None else None
