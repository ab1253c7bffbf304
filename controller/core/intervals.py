"""Between which figures the truth lies, as far as so few samples can tell: for shares and for quantiles.

`confidence` is that of the whole interval, 0.95 for 19 of 20; each end may be missed by half of the rest.
"""

import math
from statistics import NormalDist

from wherry.protocol.latency import LatencySketch, LatencyWindow
from wherry.protocol.types import Struct


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
    Practical Nonparametric Statistics, 1999, 3.2), here by its normal approximation.
    """
    window = LatencyWindow((sketch,))
    half = _z(confidence) * math.sqrt(quantile * (1 - quantile) / window.count)
    return Interval(value=_at(window, quantile), low=_at(window, quantile - half), high=_at(window, quantile + half))


def ratio(over: Interval, under: Interval) -> Interval:
    """Of two figures above zero, from the ends that are furthest apart: wider than it need be, never narrower."""
    return Interval(value=over.value / under.value, low=over.low / under.high, high=over.high / under.low)


def _at(window: LatencyWindow, place: float) -> float:
    value = window.quantile_ms(min(max(place, 0.0), 1.0))
    assert value is not None
    return value


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
