"""Rows of many keys, read in a few statements."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Row, Select
from sqlalchemy.orm import InstrumentedAttribute, Session

KEYS_TOGETHER = 1000
"""Keys or rows in one statement: below what either database takes as parameters, whatever the table."""

T = TypeVar("T")


def in_parts(keys: Iterable[T]) -> Iterator[list[T]]:
    """All of them, as many at a time as go into one statement."""
    listed = list(keys)
    for first in range(0, len(listed), KEYS_TOGETHER):
        yield listed[first : first + KEYS_TOGETHER]


def rows_by(
    session: Session, wanted: Select[*tuple[Any, ...]], key: InstrumentedAttribute[str], names: Iterable[str]
) -> dict[str, Row[Any]]:
    """What is wanted and whose `key`, one of its columns, is one of the names, by it; of each at most one row."""
    found: dict[str, Row[Any]] = {}
    for some in in_parts(dict.fromkeys(names)):
        found |= {getattr(row, key.key): row for row in session.execute(wanted.where(key.in_(some)))}
    return found
