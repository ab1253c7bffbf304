"""The manifest's reference, from what a runtime made of the final file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from wherry.converters.verify.compare import SCORES, Reading
from wherry.converters.verify.reference import reference_of
from wherry.converters.verify.runtime_child import Ran
from wherry.converters.verify.runtimes import File, Run
from wherry.protocol.manifest import Quantization, TensorSpec

PROBABILITIES = Quantization(scale=1 / 256, zero_point=-128)


def _run(stored: npt.NDArray[np.int8]) -> Run:
    spec = TensorSpec(name="y", shape=(1, *stored.shape[1:]), dtype="int8", quantization=PROBABILITIES)
    return Run("litert", Ran(version="1"), File(Path("none.tflite"), (), (spec,)), [stored], [], [])


def test_it_counts_top_classes_and_confidence_of_every_sample() -> None:
    shares = np.array([[0.75, 0.25, 0], [0.25, 0.5, 0.25], [0, 0.99, 0], [0, 1, 0]])
    found = reference_of(_run(np.clip(shares * 256 - 128, -128, 127).astype(np.int8)), SCORES)
    assert found is not None
    assert found.samples == 4
    assert found.predictions == {1: 3, 0: 1}
    assert found.confidence == (0, 0, 0, 0, 0, 1, 0, 1, 0, 2)


@pytest.mark.parametrize(
    ("shape", "how"),
    [((4, 3), Reading(classes=False)), ((4, 1), Reading(classes=True, threshold=0.5)), ((4, 2, 3), SCORES)],
)
def test_other_outputs_have_none(shape: tuple[int, ...], how: Reading) -> None:
    assert reference_of(_run(np.zeros(shape, np.int8)), how) is None


def test_of_more_than_64_classes_the_commonest_are_named() -> None:
    rows = np.repeat(np.eye(100), np.arange(1, 101), axis=0)
    found = reference_of(_run(np.clip(rows * 256 - 128, -128, 127).astype(np.int8)), SCORES)
    assert found is not None
    assert found.samples == 5050
    assert found.predictions == {index: index + 1 for index in range(36, 100)}
