"""Between which figures the truth lies, as far as so few samples can tell: for shares and for quantiles.

`confidence` is that of the whole interval, 0.95 for 19 of 20; each end may be missed by half of the rest.
"""

import math
from functools import lru_cache
from statistics import NormalDist

from wherry.protocol.latency import LatencySketch, LatencyWindow
from wherry.protocol.types import Struct

EXACT = 500
"""Values: up to so many, binomial probabilities are added up one by one."""


class Interval(Struct, frozen=True, kw_only=True):
    """The figure itself, and between which ends the truth lies."""

    value: float
    low: float
    high: float


def share(part: int, whole: int, confidence: float) -> Interval:
    """Of `part` in `whole`, one at least: the score interval of E. B. Wilson (1927)."""
    z = _z(confidence)
    p = part / whole
    spread = 1 + z * z / whole
    centre = (p + z * z / (2 * whole)) / spread
    half = z / spread * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole))
    low = 0.0 if part == 0 else max(centre - half, 0.0)
    high = 1.0 if part == whole else min(centre + half, 1.0)
    return Interval(value=p, low=low, high=high)


def drop(before: tuple[int, int], after: tuple[int, int], confidence: float) -> Interval:
    """By how much a share of (part, whole) fell: the hybrid score interval of R. G. Newcombe (1998), method 10."""
    one, two = share(*before, confidence), share(*after, confidence)
    value = one.value - two.value
    low = value - math.hypot(one.value - one.low, two.high - two.value)
    high = value + math.hypot(one.high - one.value, two.value - two.low)
    return Interval(value=value, low=low, high=high)


def quantile_ms(sketch: LatencySketch, quantile: float, confidence: float) -> Interval:
    """Of one value at least. The ends are values too: how many lie below a quantile is binomial (W. J. Conover,
    Practical Nonparametric Statistics, 1999, 3.2). Where too few are to have one above it, the upper end is open.
    """
    window = LatencyWindow((sketch,))
    below, above = _ranks(window.count, quantile, confidence)
    value = window.quantile_ms(quantile)
    assert value is not None
    return Interval(
        value=value,
        low=_of_rank(window, below) if below >= 1 else 0.0,
        high=_of_rank(window, above) if above <= window.count else math.inf,
    )


@lru_cache(1024)
def _ranks(count: int, quantile: float, confidence: float) -> tuple[int, int]:
    """Which values, counted from 1 by size, a quantile lies between; 0 and `count` + 1 are beyond all of them.

    Less than (1 - confidence) / 2 are left out on either side: exactly for few values, where it matters, and
    by the normal approximation for more than `EXACT`.
    """
    if count > EXACT:
        half = _z(confidence) * math.sqrt(count * quantile * (1 - quantile))
        return math.floor(count * quantile - half), math.ceil(count * quantile + half) + 1
    tail, at_most, low = (1 - confidence) / 2, 0.0, 0
    for below in range(count + 1):
        at_most += math.comb(count, below) * quantile**below * (1 - quantile) ** (count - below)
        if at_most <= tail:
            low = below + 1
        if at_most >= 1 - tail:
            return low, below + 1
    return low, count + 1


def ratio(over: Interval, under: Interval) -> Interval:
    """Of two figures above zero, from the ends that are furthest apart: wider than it need be, never narrower."""
    high = over.high / under.low if under.low else math.inf
    return Interval(value=over.value / under.value, low=over.low / under.high, high=high)


def _of_rank(window: LatencyWindow, rank: int) -> float:
    """The value of that rank from 1; a half keeps rounding from taking the one before."""
    value = window.quantile_ms(min((rank - 0.5) / max(window.count - 1, 1), 1.0))
    assert value is not None
    return value


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
