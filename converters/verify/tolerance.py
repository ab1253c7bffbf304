"""How far a device's golden outputs may be from the recorded ones. Pure.

int8 kernels are not bit-exact: builds for other processors, and XNNPACK against the built-in kernels,
differ by some steps. The spread is measured: the same file, the same real inputs, run again, run with
XNNPACK off, run in the other families, on the candidates for golden vectors that are no wilder than those
chosen. The largest difference found, with the margin below, is what a device is allowed.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.report import Spread
from wherry.converters.verify import compare
from wherry.protocol import preparation
from wherry.protocol.manifest import TensorSpec, Tolerance
from wherry.protocol.runtime import Family
from wherry.protocol.types import Count

MARGIN = 2.0
"""Times the measured spread: processors that could not be tried here may differ more than those that were."""

LEAST_STEPS = 4.0
"""For integer outputs, where the spread is next to nothing: some roundings, 1.6 % of the range."""

LEAST_SHARE_OF_RANGE = 1e-4
"""For float outputs, of the largest magnitude: sums in another order."""

LEAST_COSINE_SLACK = 1e-3

Arrays = Sequence[npt.NDArray[Any]]


def spread_per_input(kernels: Sequence[Arrays]) -> npt.NDArray[np.float64]:
    """For each input how far any two of `kernels` were apart, [N]; each kernel is one array [N, ...] an output.

    Of several outputs each counts in shares of its own largest spread, for their units differ.
    """
    by_output = [_apart([kernel[index] for kernel in kernels]) for index in range(len(kernels[0]))]
    if len(by_output) == 1:
        return by_output[0]
    shares: npt.NDArray[np.float64] = np.stack([apart / max(float(apart.max()), 1e-30) for apart in by_output])
    largest: npt.NDArray[np.float64] = shares.max(axis=0)
    return largest


def spread(kernels: Sequence[npt.NDArray[Any]], spec: TensorSpec) -> Spread:
    """The largest differences of all others from the first, in one output, as stored: [N, ...] each."""
    stored, *others = kernels
    real = preparation.to_real(stored, spec)
    rest = [preparation.to_real(other, spec) for other in others]
    return Spread(
        max_abs=max(float(np.abs(stored.astype(np.float64) - other.astype(np.float64)).max()) for other in others),
        min_cosine=min(float(compare.cosines(real, other).min()) for other in rest),
        top1_share=min(compare.top1_share(real, other) for other in rest),
    )


def tolerance(
    family: Family, found: Sequence[Spread], vectors: Count, specs: Sequence[TensorSpec], largest: Sequence[float]
) -> Tolerance:
    """The spreads by output with their margin. `largest` are the largest magnitudes of the outputs' real values.

    Of the top-1 of the first output of `vectors` golden vectors as many may differ as its spread predicts,
    and one more.
    """
    steps = [_allowed(entry.max_abs, spec, most) for entry, spec, most in zip(found, specs, largest, strict=True)]
    slack = max(MARGIN * (1 - min(entry.min_cosine for entry in found)), LEAST_COSINE_SLACK)
    misses = math.ceil(vectors * (1 - found[0].top1_share) - 1e-9) + 1
    return Tolerance(
        family=family,
        max_abs=max(steps),
        max_abs_by_output=tuple(steps) if len(steps) > 1 else (),
        min_cosine=max(-1.0, 1 - slack),
        min_top1_share=max(0.0, 1 - misses / vectors),
    )


def _allowed(max_abs: float, spec: TensorSpec, largest: float) -> float:
    if spec.dtype.startswith("float"):
        return max(MARGIN * max_abs, LEAST_SHARE_OF_RANGE * largest)
    return float(math.ceil(max(MARGIN * max_abs, LEAST_STEPS)))


def _apart(outputs: Arrays) -> npt.NDArray[np.float64]:
    stacked = np.stack([stored.reshape(len(stored), -1).astype(np.float64) for stored in outputs])
    apart: npt.NDArray[np.float64] = np.ptp(stacked, axis=0).max(axis=1)
    return apart
