"""Golden vectors: real inputs, and what each runtime family made of them."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.data import evenly
from wherry.protocol import limits
from wherry.protocol.golden import GoldenSet, GoldenVector
from wherry.protocol.runtime import Family

VECTORS = 8

CANDIDATES = 32
"""Inputs that every kernel runs, and among which the golden ones are chosen."""

MAX_SET_BYTES = limits.MAX_GOLDEN_BYTES // 2
"""Fewer vectors of large inputs: a device reads them all into memory."""

_SEED = 0

Array = npt.NDArray[Any]


def order(count: int) -> npt.NDArray[np.int64]:
    """All indices of `count` samples, the candidates first.

    The candidates are evenly spread; the others follow in a fixed mixed order, so that every prefix
    that holds them is a fair sample.
    """
    first = evenly(count, CANDIDATES)
    rest = np.setdiff1d(np.arange(count, dtype=np.int64), first)
    return np.concatenate([first, np.random.default_rng(_SEED).permutation(rest)])


def choose(spreads: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Indices of the golden candidates, by how far the kernels were apart on each.

    Of each eighth the wildest that is no wilder than the median of all, or else the calmest: on the
    calmest of all, often a saturated output, a wrong kernel is not seen, and on the wildest, at the
    edge between two answers, a right one looks wrong.
    """
    median = np.median(spreads)
    eighths = np.array_split(np.arange(len(spreads), dtype=np.int64), min(VECTORS, len(spreads)))
    return np.array([_middling(part, spreads, float(median)) for part in eighths], np.int64)


def _middling(part: npt.NDArray[np.int64], spreads: npt.NDArray[np.float64], limit: float) -> int:
    within = part[spreads[part] <= limit]
    return int(within[spreads[within].argmax()] if within.size else part[spreads[part].argmin()])


def golden_set(inputs: Sequence[Array], outputs: Mapping[Family, Sequence[Array]]) -> GoldenSet:
    """Vectors of stored inputs, [N, ...] each, with the stored outputs of each family, [N, ...] too."""
    return GoldenSet(
        vectors=tuple(
            GoldenVector(
                inputs=tuple(_raw(tensor[index]) for tensor in inputs),
                outputs={
                    str(family): tuple(_raw(stored[index]) for stored in found) for family, found in outputs.items()
                },
            )
            for index in range(len(inputs[0]))
        )
    )


def _raw(tensor: Array) -> bytes:
    little = tensor.astype(tensor.dtype.newbyteorder("<")) if sys.byteorder == "big" else tensor
    return little.tobytes()
