"""The top class of a row of scores, and how sure the model is of it."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherry.protocol.manifest import DType, Quantization, TensorSpec
from wherry.protocol.scores import ScoreReader, has_scores

FLOAT = TensorSpec(name="y", shape=(1, 3), dtype="float32")


def _int(dtype: DType, scale: float, zero_point: int) -> ScoreReader:
    quantization = Quantization(scale=scale, zero_point=zero_point)
    return ScoreReader(TensorSpec(name="y", shape=(1, 3), dtype=dtype, quantization=quantization))


def _softmax_top(logits: list[float]) -> float:
    exponents = np.exp(np.array(logits) - max(logits))
    return float(exponents.max() / exponents.sum())


@pytest.mark.parametrize(
    ("shape", "scores"), [((1, 10), True), ((10,), True), ((1, 1, 1, 2), True), ((1, 1), False), ((1, 2, 4), False)]
)
def test_scores_are_one_row_of_two_or_more(shape: tuple[int, ...], scores: bool) -> None:
    assert has_scores((TensorSpec(name="a", shape=shape, dtype="int8"),)) is scores


def test_the_first_of_equal_scores_is_the_top() -> None:
    assert _int("int8", 0.5, 0).read(np.array([[1, 5, 5]], np.int8)).top == 1


@pytest.mark.parametrize(
    ("reader", "row", "confidence"),
    [
        (ScoreReader(FLOAT), np.array([[0.1, 0.7, 0.2]], np.float32), 0.7),
        (ScoreReader(FLOAT), np.array([[0.2, 0.9, 0.8]], np.float32), 0.9),  # sigmoids: each a probability of its own
        (ScoreReader(FLOAT), np.array([[1.0, 0.0, 0.0]], np.float32), 1.0),
        (ScoreReader(FLOAT), np.array([[0.0, 0.0, 0.0]], np.float32), 0.0),
        (ScoreReader(FLOAT), np.array([[2.0, 1.0, -1.0]], np.float32), _softmax_top([2, 1, -1])),
        (ScoreReader(FLOAT), np.log(np.array([[0.1, 0.7, 0.2]], np.float32)), 0.7),
        (ScoreReader(FLOAT), np.array([[5.0, -np.inf, -np.inf]], np.float32), 1.0),
        (_int("int8", 1 / 256, -128), np.array([[-128, 127, -127]], np.int8), 255 / 256),
        (_int("uint8", 1 / 255, 0), np.array([[0, 255, 0]], np.uint8), 1.0),
        (_int("int16", 1 / 32768, 0), np.array([[0, 16384, 16384]], np.int16), 0.5),
        (_int("int8", 0.5, 5), np.array([[-128, 127, 127]], np.int8), 0.5),
        (_int("int8", 0.5, 5), np.array([[3, 5, 1]], np.int8), _softmax_top([-1, 0, -2])),
    ],
)
def test_probabilities_are_taken_and_logits_go_through_a_softmax(
    reader: ScoreReader, row: npt.NDArray[np.generic], confidence: float
) -> None:
    assert reader.read(row).confidence == pytest.approx(confidence, abs=1e-6)


@pytest.mark.parametrize("row", [[np.nan, 1, 2], [1, np.nan, 2], [np.inf, 0, 1], [-np.inf] * 3])
def test_a_top_that_is_no_finite_number_is_an_error(row: list[float]) -> None:
    with pytest.raises(ValueError, match="not a number"):
        ScoreReader(FLOAT).read(np.array([row], np.float32))


@settings(deadline=None)
@given(hnp.arrays(np.float32, 5, elements=st.floats(-30, 30, width=32)))
def test_a_head_with_a_softmax_and_one_without_give_the_same(logits: npt.NDArray[np.float32]) -> None:
    reader = ScoreReader(TensorSpec(name="y", shape=(1, 5), dtype="float32"))
    exponents = np.exp(logits - logits.max())
    of_logits, of_shares = reader.read(logits), reader.read(exponents / exponents.sum())
    if logits.min() < 0 or logits.max() > 1.01:  # else they pass for probabilities, which is said in the docstring
        assert of_logits.confidence == pytest.approx(of_shares.confidence, abs=1e-5)


@settings(deadline=None)
@given(hnp.arrays(np.int8, (1, 10)), st.floats(1e-4, 2), st.integers(-128, 127))
def test_confidence_lies_between_0_and_1(row: npt.NDArray[np.int8], scale: float, zero_point: int) -> None:
    quantization = Quantization(scale=scale, zero_point=zero_point)
    found = ScoreReader(TensorSpec(name="y", shape=(1, 10), dtype="int8", quantization=quantization)).read(row)
    assert 0 <= found.confidence <= 1
    assert found.top == int(row.argmax())


@settings(deadline=None)
@given(hnp.arrays(np.float32, 10, elements=st.floats(-30, 30, width=32)))
def test_few_scores_and_many_are_read_alike(few: npt.NDArray[np.float32]) -> None:
    reader = ScoreReader(FLOAT)
    many = np.concatenate([few, np.full(100, -1e4, np.float32)])
    found, expected = reader.read(many), reader.read(np.append(few, np.float32(-1e4)))
    assert found.top == expected.top
    assert found.confidence == pytest.approx(expected.confidence, abs=1e-5)


def test_not_a_number_among_many_is_an_error() -> None:
    row = np.zeros(1000, np.float32)
    row[500] = np.nan
    with pytest.raises(ValueError, match="not a number: nan"):
        ScoreReader(FLOAT).read(row)
