"""Latency as a sketch that merges exactly across windows and devices.

A quantile of merged sketches is within `relative_accuracy` of the true quantile of all values; an
average of quantiles is not a quantile. Values are milliseconds, greater than zero.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import CollapsingHighestDenseStore, DenseStore

from wherry.protocol.types import Count, Struct

RELATIVE_ACCURACY = 0.01
MAX_BINS = 1024
"""1,024 bins of 1 % hold what lies between the next two."""

LOWEST_MS = 1e-3
HIGHEST_MS = 6e5


class LatencySketch(Struct, frozen=True, kw_only=True):
    """The bins of a DDSketch with relative accuracy 0.01: `counts[i]` values at key `first_key + i`."""

    first_key: Annotated[int, msgspec.Meta(ge=-2000, le=2000)] = 0
    counts: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MAX_BINS)] = ()

    @property
    def count(self) -> int:
        return sum(self.counts)


class LatencyWindow:
    """Collects latencies, in milliseconds, and other windows' sketches."""

    def __init__(self, sketches: Iterable[LatencySketch] = ()) -> None:
        self._store = CollapsingHighestDenseStore(MAX_BINS)
        self._mapping = LogarithmicMapping(RELATIVE_ACCURACY)
        for sketch in sketches:
            self.merge(sketch)

    def add(self, latency_ms: float) -> None:
        self._store.add(self._mapping.key(min(max(latency_ms, LOWEST_MS), HIGHEST_MS)))

    def merge(self, sketch: LatencySketch) -> None:
        for offset, count in enumerate(sketch.counts):
            if count:
                self._store.add(sketch.first_key + offset, count)

    @property
    def count(self) -> int:
        return int(self._store.count)

    def quantile_ms(self, quantile: float) -> float | None:
        """The value at `quantile` (0 to 1), in milliseconds; None where nothing was added."""
        sketch = BaseDDSketch(self._mapping, self._store, DenseStore(), 0.0)
        value = sketch.get_quantile_value(quantile)
        return None if value is None else float(value)

    def sketch(self) -> LatencySketch:
        """What was collected, in the form that a message carries."""
        if self._store.count == 0:
            return LatencySketch()
        low = int(self._store.min_key)
        start = low - int(self._store.offset)
        length = int(self._store.max_key) - low + 1
        counts = tuple(int(count) for count in self._store.bins[start : start + length])
        return LatencySketch(first_key=low, counts=counts)
