"""Whether a worker's memory grows and goes on growing: a leak, long before it meets a limit.

Rules upheld here:
- The first windows are left out: runtimes, allocators and the first requests take what they need then.
- The slope is the median of the slopes between all pairs (P. K. Sen, 1968; after H. Theil): no single window tilts it.
- A worker that has levelled off does not grow, whatever it has taken: its last third must climb at half the slope.
"""

from collections.abc import Sequence
from itertools import combinations
from statistics import median

import msgspec

SETTLING_SHARE = 0.2
LEAST_POINTS = 6
"""After the settling: two for each third."""

MAX_POINTS = 40
"""All pairs of them are 780, within a millisecond."""

STILL_SHARE = 0.5

Point = tuple[float, int]
"""Seconds since the switch, and bytes."""


class Growth(msgspec.Struct, frozen=True):
    """`gained_bytes` over `over_s`; `goes_on` where the end climbs as the whole did."""

    gained_bytes: float
    over_s: float
    goes_on: bool


class Trace:
    """Points at even distances over all the time there was, at most `MAX_POINTS`: the longer, the farther apart."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._stride = 1
        self._seen = 0

    def add(self, at_s: float, size_bytes: int) -> None:
        if self._seen % self._stride == 0:
            self.points.append((at_s, size_bytes))
        self._seen += 1
        if len(self.points) > MAX_POINTS:
            self.points = self.points[::2]
            self._stride *= 2


def growth(points: Sequence[Point]) -> Growth | None:
    """Of a worker's memory since the switch; None where too little is known."""
    begin_s = points[0][0] + SETTLING_SHARE * (points[-1][0] - points[0][0]) if points else 0.0
    settled = [point for point in points if point[0] >= begin_s]
    if len(settled) < LEAST_POINTS or settled[-1][0] <= settled[0][0]:
        return None
    over_s = settled[-1][0] - settled[0][0]
    whole, end = _slope(settled), _slope(settled[-max(len(settled) // 3, 2) :])
    return Growth(whole * over_s, over_s, whole > 0 and end >= STILL_SHARE * whole)


def _slope(points: Sequence[Point]) -> float:
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
    return median(slopes) if slopes else 0.0
