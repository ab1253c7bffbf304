"""How far a device's golden outputs may be from the recorded ones. Pure.

int8 kernels are not bit-exact: builds for other processors, and XNNPACK against the built-in kernels,
differ by some steps. The spread is measured: the same file, the same real inputs, run again, run with
XNNPACK off, run in the other families, on the candidates for golden vectors that are no wilder than those
chosen. The largest difference found, with the margin below, is what a device is allowed.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.report import Spread
from wherry.converters.verify import compare
from wherry.protocol.manifest import Tolerance
from wherry.protocol.runtime import Family
from wherry.protocol.types import Count

MARGIN = 2.0
"""Times the measured spread: processors that could not be tried here may differ more than those that were."""

LEAST_STEPS = 4.0
"""For integer outputs, where the spread is next to nothing: some roundings, 1.6 % of the range."""

LEAST_SHARE_OF_RANGE = 1e-4
"""For float outputs, of the largest magnitude: sums in another order."""

LEAST_COSINE_SLACK = 1e-3


def spread_per_input(outputs: list[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """For each input the largest difference between any two of `outputs`, each [N, ...] as stored; [N]."""
    stacked = np.stack([stored.reshape(len(stored), -1).astype(np.float64) for stored in outputs])
    apart: npt.NDArray[np.float64] = np.ptp(stacked, axis=0).max(axis=1)
    return apart


def spread(outputs: list[npt.NDArray[Any]], real: list[compare.Outputs]) -> Spread:
    """The largest differences of all others from the first; `real` holds `outputs` as real values."""
    stored, *others = outputs
    base, *rest = real
    return Spread(
        max_abs=max(float(np.abs(stored.astype(np.float64) - other.astype(np.float64)).max()) for other in others),
        min_cosine=min(float(compare.cosines(base, other).min()) for other in rest),
        top1_share=min(compare.top1_share(base, other) for other in rest),
    )


def tolerance(family: Family, found: Spread, vectors: Count, *, largest: float, integers: bool) -> Tolerance:
    """The spread with its margin. `largest` is the largest magnitude of the outputs.

    Of the top-1 of `vectors` golden vectors as many may differ as the spread predicts, and one more.
    """
    least = LEAST_STEPS if integers else LEAST_SHARE_OF_RANGE * largest
    max_abs = max(MARGIN * found.max_abs, least)
    slack = max(MARGIN * (1 - found.min_cosine), LEAST_COSINE_SLACK)
    misses = math.ceil(vectors * (1 - found.top1_share) - 1e-9) + 1
    return Tolerance(
        family=family,
        max_abs=float(math.ceil(max_abs)) if integers else max_abs,
        min_cosine=max(-1.0, 1 - slack),
        min_top1_share=max(0.0, 1 - misses / vectors),
    )
