"""What a row of scores says: the top class and how sure the model is of it. The one implementation.

Converters call it for the manifest's reference and workers for every inference, so that drift compares like with like.

Rules upheld here:
- Scores that all lie between 0 and 1 are taken to be probabilities, and confidence is the largest. All others are taken
  to be logits, and confidence is the largest of their softmax, 1 / sum(exp(score - top score)): of logarithms of
  probabilities that is the probability itself. Which it is, is seen row by row, so a head with a softmax and one
  without give the same.
- Scores are real values: stored integers count by their scale.
- Of equal scores the first is the top. A top score that is not a finite number is an error, not an answer.

As `preparation.py` this needs numpy: the supervisor and the controller must not import it.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wherry.protocol.manifest import TensorSpec

Array = npt.NDArray[Any]

_ABOVE_ONE = 1.01
"""Quantized probabilities may come out a step above 1."""

_FEW = 32
"""Up to so many scores plain Python is faster than numpy: 3 us instead of 11 for ten of them."""


class Reading(NamedTuple):
    """`confidence` is between 0 and 1."""

    top: int
    confidence: float


class ScoreReader:
    """Reads stored scores of an output."""

    def __init__(self, spec: TensorSpec) -> None:
        is_stored = spec.quantization is not None and not spec.dtype.startswith("float")
        self._scale = spec.quantization.scale if spec.quantization and is_stored else 1.0
        self._zero = spec.quantization.zero_point if spec.quantization and is_stored else 0

    def read(self, scores: Array) -> Reading:
        """Of one row of scores, whatever lengths of 1 are about it. Raises ValueError where the top is no number."""
        row = scores.reshape(-1)
        return self._few(row.tolist()) if row.size <= _FEW else self._many(row.astype(np.float32))

    def _few(self, row: list[float]) -> Reading:
        best = max(row)
        if not -math.inf < best < math.inf or math.isnan(sum(row)):
            raise ValueError(f"the output is not a number: {row}")
        top, low = row.index(best), min(row)
        if self._are_shares(low, best):
            return self._share(top, best)
        scale = self._scale
        return Reading(top, 1.0 / sum([math.exp((score - best) * scale) for score in row]))

    def _many(self, row: npt.NDArray[np.float32]) -> Reading:
        top = int(row.argmax())
        best = float(row[top])  # of a row with NaN that is a NaN
        if not -math.inf < best < math.inf:
            raise ValueError(f"the output is not a number: {best}")
        if self._are_shares(float(row.min()), best):
            return self._share(top, best)
        row -= best
        row *= self._scale
        return Reading(top, 1.0 / float(np.exp(row, out=row).sum()))

    def _are_shares(self, low: float, best: float) -> bool:
        return low >= self._zero and (best - self._zero) * self._scale <= _ABOVE_ONE

    def _share(self, top: int, best: float) -> Reading:
        return Reading(top, min((best - self._zero) * self._scale, 1.0))


def has_scores(outputs: tuple[TensorSpec, ...]) -> bool:
    """Whether the first output is one row of scores for two classes or more, so that its top is a prediction."""
    shape = outputs[0].shape if outputs else ()
    return bool(shape) and shape[-1] >= 2 and all(length == 1 for length in shape[:-1])
