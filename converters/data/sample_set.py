"""Samples in the form in which the source takes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SampleSet:
    """What was taken of the data at `where`, as the user named it, after preprocessing.

    `inputs`: one [N, *end.sample_shape] an input, in the order of the source's inputs, in its layout and dtype.
    `labels`: int64 [N] class indices, or None. `class_names`: of a folder by class, in the order of the labels.
    `given`: how many samples the data has, of which these N were taken.
    """

    where: str
    inputs: dict[str, Array]
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    given: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, indices: npt.NDArray[np.int64]) -> "SampleSet":
        inputs = {name: values[indices] for name, values in self.inputs.items()}
        labels = None if self.labels is None else self.labels[indices]
        return SampleSet(self.where, inputs, labels, self.class_names, self.given)

    def without_labels(self) -> "SampleSet":
        return SampleSet(self.where, self.inputs, None, (), self.given)

    def span(self, name: str) -> tuple[float, float]:
        """The smallest and the largest value of an input."""
        return float(self.inputs[name].min()), float(self.inputs[name].max())
