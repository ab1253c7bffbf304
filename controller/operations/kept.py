"""What was made of rows, kept from one look at the fleet to the next."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from sqlalchemy import Row

T = TypeVar("T")


class Kept(Generic[T]):
    """Makes something of every row, but again only of one that has changed; of rows that are gone nothing is kept.

    A row is told by its first column. `make` must look at nothing but the row.
    """

    def __init__(self, make: Callable[[Row[Any]], T]) -> None:
        self._make = make
        self._by_name: dict[str, tuple[tuple[Any, ...], T]] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def cache_clear(self) -> None:
        self._by_name.clear()

    def of(self, rows: Iterable[Row[Any]]) -> list[T]:
        before, now = self._by_name, {}
        for found in rows:
            values = tuple(found)
            kept = before.get(values[0])
            now[values[0]] = kept if kept is not None and kept[0] == values else (values, self._make(found))
        self._by_name = now
        return [made for _, made in now.values()]
