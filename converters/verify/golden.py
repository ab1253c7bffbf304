"""Golden vectors: real inputs, and what each runtime family made of them."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.data import evenly
from wherry.protocol.golden import GoldenSet, GoldenVector
from wherry.protocol.runtime import Family

VECTORS = 8
_SEED = 0


def order(count: int) -> npt.NDArray[np.int64]:
    """All indices of `count` samples, those of the golden vectors first.

    The first are evenly spread; the others follow in a fixed mixed order, so that every prefix is
    a fair sample.
    """
    first = evenly(count, VECTORS)
    rest = np.setdiff1d(np.arange(count, dtype=np.int64), first)
    return np.concatenate([first, np.random.default_rng(_SEED).permutation(rest)])


def golden_set(inputs: npt.NDArray[Any], outputs: Mapping[Family, npt.NDArray[Any]]) -> GoldenSet:
    """The first VECTORS of stored inputs [N, ...] with the stored outputs of each family."""
    return GoldenSet(
        vectors=tuple(
            GoldenVector(
                inputs=(_raw(inputs[index]),),
                outputs={str(family): (_raw(stored[index]),) for family, stored in outputs.items()},
            )
            for index in range(min(VECTORS, len(inputs)))
        )
    )


def _raw(tensor: npt.NDArray[Any]) -> bytes:
    little = tensor.astype(tensor.dtype.newbyteorder("<")) if sys.byteorder == "big" else tensor
    return little.tobytes()
