"""Comparing golden outputs: what is within tolerance, what is not, and what cannot be compared."""

import numpy as np
import pytest

from wherry.agent.worker.errors import OrderRefused
from wherry.agent.worker.golden import Difference, cases, difference, judge
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.golden import GoldenSet, GoldenVector
from wherry.protocol.manifest import DType, Quantization, TensorSpec, Tolerance

INT8 = TensorSpec(name="a", shape=(1, 4), dtype="int8", quantization=Quantization(scale=0.5, zero_point=-128))
FLOAT = TensorSpec(name="b", shape=(1, 4), dtype="float32")


def int8(*values: int) -> Tensor:
    return np.array([values], np.int8)


def float32(*values: float) -> Tensor:
    return np.array([values], np.float32)


def tolerance(max_abs: float = 2, min_cosine: float = 0.9, min_top1_share: float = 0.0) -> Tolerance:
    return Tolerance(family="litert", max_abs=max_abs, min_cosine=min_cosine, min_top1_share=min_top1_share)


def test_integers_are_compared_in_steps_without_overflow() -> None:
    found = difference([INT8], [int8(-128, 127, 0, 1)], [int8(127, -128, 0, 1)])
    assert found.max_abs == 255
    assert not found.same_top


def test_cosine_is_between_the_real_values_so_the_zero_point_counts() -> None:
    found = difference([INT8], [int8(-128, -128, -128, 0)], [int8(-128, -128, 0, -128)])
    assert found.cosine == pytest.approx(0.0)


def test_equal_outputs_have_cosine_one_exactly_also_where_they_are_all_zero() -> None:
    values = float32(0.1, 0.2, 0.3, 0.7)
    assert difference([FLOAT], [values], [values]) == Difference(0.0, 1.0, same_top=True, by_output=(0.0,))
    zeros = int8(-128, -128, -128, -128)
    assert difference([INT8], [zeros], [zeros]).cosine == 1.0
    assert difference([INT8], [zeros], [int8(0, 0, 0, 0)]).cosine == 0.0


def test_the_worst_of_several_outputs_counts_and_the_first_has_the_top() -> None:
    want, got = [float32(0, 0, 1, 0), int8(0, 0, 1, 0)], [float32(0, 0, 1, 0.25), int8(0, 9, 1, 0)]
    found = difference([FLOAT, INT8], want, got)
    assert found.max_abs == 9
    assert found.same_top


def test_each_output_is_held_to_its_own_limit() -> None:
    limits = Tolerance(family="litert", max_abs=9, min_cosine=-1, max_abs_by_output=(0.1, 9))
    within = difference([FLOAT, INT8], [float32(0, 0, 1, 0), int8(0, 0, 1, 0)], [float32(0, 0, 1, 0), int8(0, 9, 1, 0)])
    assert judge([within], limits).ok
    beyond = difference([FLOAT, INT8], [float32(0, 0, 1, 0), int8(0, 0, 1, 0)], [float32(0, 0, 2, 0), int8(0, 0, 1, 0)])
    verdict = judge([within, beyond], limits)
    assert not verdict.ok
    assert "output 0 off by 1, allowed 0.1" in verdict.reason
    assert "output 1" not in verdict.reason


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_fails_any_tolerance(bad: float) -> None:
    good, broken = float32(1, 2, 3, 4), float32(1, 2, 3, bad)
    for want, got in [(good, broken), (broken, good), (broken, broken)]:
        verdict = judge([difference([FLOAT], [want], [got])], tolerance(1e30, -1.0))
        assert not verdict.ok
        assert "not a finite number" in verdict.reason


@pytest.mark.parametrize(
    ("limit", "word"),
    [
        (tolerance(max_abs=2.9), "off by 3, allowed 2.9"),
        (tolerance(max_abs=3, min_cosine=0.96), "cosine 0.95"),
        (tolerance(max_abs=3, min_cosine=0.9, min_top1_share=0.6), "top-1 share 0.500, at least 0.600"),
    ],
)
def test_each_limit_fails_by_itself_and_is_named(limit: Tolerance, word: str) -> None:
    runs = [Difference(3.0, 0.95, same_top=True), Difference(0.0, 1.0, same_top=False)]
    verdict = judge(runs, limit)
    assert not verdict.ok
    assert word in verdict.reason
    assert verdict.reason.count(";") == 0


def test_what_is_exactly_at_the_limits_passes() -> None:
    runs = [Difference(3.0, 0.95, same_top=True), Difference(0.0, 1.0, same_top=False)]
    verdict = judge(runs, tolerance(max_abs=3, min_cosine=0.95, min_top1_share=0.5))
    assert verdict.ok
    assert "2 golden vectors" in verdict.reason
    assert "worst difference 3, worst cosine 0.950000, same top-1 0.500" in verdict.reason


def test_every_broken_limit_is_named() -> None:
    verdict = judge([Difference(3.0, 0.5, same_top=False)], tolerance(1, 0.9, 1.0))
    assert verdict.reason.count(";") == 2


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "float16", "float32", "bool"])
def test_raw_bytes_become_tensors_of_the_spec(dtype: DType) -> None:
    spec = TensorSpec(name="t", shape=(1, 3), dtype=dtype)
    tensor = np.array([[1, 0, 1]], dtype)
    vector = GoldenVector(inputs=(tensor.tobytes(),), outputs={"litert": (tensor.tobytes(),)})
    [case] = cases(GoldenSet(vectors=(vector,)), "litert", [spec], [spec])
    assert case.inputs[0].dtype == dtype
    assert np.array_equal(case.inputs[0], tensor)
    assert np.array_equal(case.expected[0], tensor)


@pytest.mark.parametrize(
    ("vectors", "word"),
    [
        ((), "no golden vectors"),
        ((GoldenVector(inputs=(b"1234",), outputs={"tflite-runtime": (b"1234",)}),), "no outputs recorded with litert"),
        ((GoldenVector(inputs=(b"123",), outputs={"litert": (b"1234",)}),), "inputs of golden vector 0 have"),
        ((GoldenVector(inputs=(b"1234",), outputs={"litert": (b"12345",)}),), "outputs of golden vector 0 have"),
        ((GoldenVector(inputs=(b"1234", b""), outputs={"litert": (b"1234",)}),), "inputs of golden vector 0 have"),
    ],
)
def test_vectors_that_are_not_for_this_model_are_refused(vectors: tuple[GoldenVector, ...], word: str) -> None:
    with pytest.raises(OrderRefused, match=word):
        cases(GoldenSet(vectors=vectors), "litert", [INT8], [INT8])
