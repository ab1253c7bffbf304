"""Rows of many keys, read in a few statements."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from wherry.controller.store.tables import Base

KEYS_TOGETHER = 1000
"""Keys or rows in one statement: below what either database takes as parameters, whatever the table."""

R = TypeVar("R", bound=Base)
T = TypeVar("T")


def in_parts(keys: Iterable[T]) -> Iterator[list[T]]:
    """All of them, as many at a time as go into one statement."""
    listed = list(keys)
    for first in range(0, len(listed), KEYS_TOGETHER):
        yield listed[first : first + KEYS_TOGETHER]


def rows_by(
    session: Session, table: type[R], key: InstrumentedAttribute[str], names: Iterable[str], *where: Any
) -> dict[str, R]:
    """The rows whose `key` is one of the names, by it; of each name at most one row may fulfil `where`."""
    found: dict[str, R] = {}
    for some in in_parts(dict.fromkeys(names)):
        rows = session.scalars(select(table).where(key.in_(some), *where))
        found |= {getattr(row, key.key): row for row in rows}
    return found
