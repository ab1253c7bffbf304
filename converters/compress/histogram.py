"""A histogram of float values that needs not know their range beforehand, and the ranges that follow from it.

The bins are the floats that agree in sign, exponent and the first five bits of the mantissa: 32 an octave, at most
3 % wide each. So one pass is enough, values that differ by orders of magnitude are told apart alike, and two
histograms add up. Magnitudes below 2^-31 count as the smallest, above 2^33 as the largest. Pure NumPy.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]

_MANTISSA_BITS = 5
_SHIFT = 23 - _MANTISSA_BITS
_FIRST = (127 - 31) << _MANTISSA_BITS
_BINS = 64 << _MANTISSA_BITS
STEPS = 255
_SMALLEST_SHARE = 1e-4
"""Of the seen magnitude, below which no range is tried."""


def _edges() -> npt.NDArray[np.float64]:
    bits = (np.arange(_BINS + 1, dtype=np.int64) + _FIRST) << _SHIFT
    return bits.astype(np.int32).view(np.float32).astype(np.float64)


_EDGES = _edges()


@dataclass
class Histogram:
    """How often values of either sign were seen in each bin; `zeros` are values that are exactly 0."""

    zeros: int = 0
    negative: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    positive: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, values: Floats) -> None:
        flat = np.ascontiguousarray(values, np.float32).ravel()
        bins = np.clip((np.abs(flat).view(np.int32) >> _SHIFT) - _FIRST, 0, _BINS - 1)
        above, below = flat > 0, flat < 0
        self.positive += np.bincount(bins[above], minlength=_BINS)
        self.negative += np.bincount(bins[below], minlength=_BINS)
        self.zeros += int(flat.size - above.sum() - below.sum())

    @property
    def count(self) -> int:
        return int(self.zeros + self.negative.sum() + self.positive.sum())


def percentile_range(seen: Histogram, percent: float) -> Range:
    """The narrowest range of bins that leaves out at most `100 - percent` of all values on either side; holds zero."""
    beyond = seen.count * (1 - percent / 100)
    return -_magnitude(seen.negative, beyond), _magnitude(seen.positive, beyond)


def mse_range(seen: Histogram) -> Range:
    """The range with the least expected square error of 256 steps.

    Inside the error is that of rounding, step² / 12, but for exact zeros, which have none; outside it is
    the distance to the range. After Nahshan et al., Sung et al. ("Resiliency of deep neural networks under
    quantization", 2015) search the same minimum.
    """
    lows, clipped_low = _clipping(seen.negative)
    highs, clipped_high = _clipping(seen.positive)
    steps = (lows[:, None] + highs[None, :]) / STEPS
    rounding = steps**2 / 12 * (seen.count - seen.zeros)
    total = rounding + clipped_low[:, None] + clipped_high[None, :]
    low, high = np.unravel_index(int(total.argmin()), total.shape)
    return -float(lows[low]), float(highs[high])


def _magnitude(counts: npt.NDArray[np.int64], beyond: float) -> float:
    """The upper edge of the lowest bin above which at most `beyond` values lie; 0 where all do."""
    above = counts[::-1].cumsum()[::-1]
    kept = np.flatnonzero(above > beyond)
    return float(_EDGES[kept[-1] + 1]) if kept.size else 0.0


def _clipping(counts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Limits to try, and the summed square distance of all values beyond each."""
    used = np.flatnonzero(counts)
    if not used.size:
        return np.zeros(1), np.zeros(1)
    limits = _EDGES[1 : used[-1] + 2]
    limits = limits[limits >= limits[-1] * _SMALLEST_SHARE]
    centres = (_EDGES[:-1] + _EDGES[1:]) / 2
    beyond = np.maximum(centres[None, used] - limits[:, None], 0)
    return limits, (beyond**2) @ counts[used].astype(np.float64)
