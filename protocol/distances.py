"""Distances between two histograms of answers, and what chance alone may make of them. Pure arithmetic.

Rules upheld here:
- A distance is 0 for equal counts, the same both ways, and grows with the difference.
- Every formula names its source; what chance brings is said as what it stays below 999 times of 1,000.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

OTHERS = -1
SPARSE = 10
"""Classes with fewer samples, of both profiles together, are counted as one: single samples are no shares."""

SMOOTHING = 0.5
"""Added to every count, so that a class that one side never saw is no infinity: the estimate of Jeffreys, and of
Krichevsky and Trofimov (1981)."""

SURE_Z = 3.09
"""Quantile of the normal distribution: chance goes beyond once in 1,000 comparisons."""


class Distance(msgspec.Struct, frozen=True):
    """`noise` is what chance alone stays below, 999 times of 1,000."""

    value: float
    noise: float

    def exceeds(self, limit: float) -> bool:
        return self.value > limit + self.noise


def psi(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Population stability index, sum((p - q) * ln(p / q)) over the classes; from 0 up.

    N. Siddiqi, Credit Risk Scorecards, 2006; it is the divergence of H. Jeffreys (1946). Shares are smoothed by
    `SMOOTHING`, classes below `SPARSE` counted as one. Counts may be of what samples are worth, see `clumping`.
    """
    pairs = merged(one, other)
    shares = zip(_shares([a for a, _ in pairs]), _shares([b for _, b in pairs]), strict=True)
    return sum((p - q) * math.log(p / q) for p, q in shares)


def psi_noise(bins: int, one: float, other: float) -> float:
    """What the PSI of two samples of one distribution stays below, 999 times of 1,000.

    It is (1/n + 1/m) times a chi-square of bins - 1 degrees (B. Yurdakul, Statistical Properties of Population
    Stability Index, 2018), whose quantile is approximated after Wilson and Hilferty (1931).
    """
    degrees = max(bins - 1, 1)
    part = 2 / (9 * degrees)
    return (1 / one + 1 / other) * degrees * (1 - part + SURE_Z * math.sqrt(part)) ** 3


def shift(one: Sequence[int], other: Sequence[int]) -> float:
    """Wasserstein distance of two histograms over 0 to 1: how far confidence moved, on average over the samples.

    In one dimension it is the area between the cumulative distributions (S. S. Vallender, 1973); 0 to 0.9 in ten bins.
    """
    return sum(abs(p - q) for p, q in zip(_cumulative(one), _cumulative(other), strict=True)) / len(one)


def shift_noise(one: Sequence[int], other: Sequence[int], samples: float, others: float) -> float:
    """What the shift of two samples of one distribution stays below: at each edge of the bins the deviation of a share,
    sqrt(F (1 - F) (1/n + 1/m)), F of both together, `SURE_Z` times. More than that quantile, for edges move together.
    """
    pooled = _cumulative([a + b for a, b in zip(one, other, strict=True)])
    spread = 1 / samples + 1 / others
    return SURE_Z * sum(math.sqrt(share * (1 - share) * spread) for share in pooled) / len(one)


def clumping(parts: Sequence[Mapping[int, int]]) -> float:
    """By how much windows differ more from each other than samples drawn one by one would: 1 and up.

    Pearson's chi-square of windows by classes over its degrees of freedom, the mean generalized design effect of
    J. N. K. Rao and A. J. Scott (1981): so many samples in windows are worth one.
    """
    parts = [part for part in parts if sum(part.values())]
    total = _added(parts)
    samples, degrees = sum(total.values()), (len(parts) - 1) * (len(total) - 1)
    if degrees < 1:
        return 1.0
    chi_square = 0.0
    for part in parts:
        size = sum(part.values())
        for key, count in total.items():
            expected = size * count / samples
            chi_square += (part.get(key, 0) - expected) ** 2 / expected
    return max(1.0, chi_square / degrees)


def merged(one: Mapping[int, float], other: Mapping[int, float]) -> list[tuple[float, float]]:
    """Counts of both by class, the sparse ones together at the end; at least one pair."""
    pairs = {key: (one.get(key, 0), other.get(key, 0)) for key in one.keys() | other.keys()}
    kept = [pairs[key] for key in sorted(pairs) if key != OTHERS and sum(pairs[key]) >= SPARSE]
    rest = [pair for key, pair in pairs.items() if key == OTHERS or sum(pair) < SPARSE]
    together = (sum(pair[0] for pair in rest), sum(pair[1] for pair in rest))
    return [*kept, together] if sum(together) or not kept else kept


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) + SMOOTHING * len(counts)
    return [(count + SMOOTHING) / total for count in counts]


def _cumulative(counts: Sequence[int]) -> list[float]:
    """Shares up to each inner edge of the bins."""
    total, below, found = max(sum(counts), 1), 0, []
    for count in counts[:-1]:
        below += count
        found.append(below / total)
    return found


def _added(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for part in parts:
        for key, count in part.items():
            if count:
                total[key] = total.get(key, 0) + count
    return total
