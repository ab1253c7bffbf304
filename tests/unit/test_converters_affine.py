"""The quantization formula, by hand-checked numbers and properties; the converter's own: test_affine.py."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wherry.converters.compress import affine
from wherry.protocol.manifest import Quantization


def test_rounds_halves_away_from_zero() -> None:
    values = [-2.5, -1.5, -0.5, -0.49999999999999994, 0.0, 0.49999999999999994, 0.5, 1.5, 2.5]
    assert affine.round_half_away(values).tolist() == [-3, -2, -1, 0, 0, 0, 1, 2, 3]


def test_a_range_of_one_sign_is_widened_to_zero() -> None:
    assert affine.activation_quantization(2.0, 255.0) == Quantization(scale=1.0, zero_point=-128)
    assert affine.activation_quantization(-255.0, -2.0) == Quantization(scale=1.0, zero_point=127)


def test_the_zero_point_is_nudged_to_an_integer() -> None:
    found = affine.activation_quantization(-1.0, 1.0)
    assert found.scale == pytest.approx(2 / 255)
    assert found.zero_point in (-1, 0), "the exact zero point is -0.5"


@given(st.floats(-1e4, 0, width=32), st.floats(0, 1e4, width=32))
def test_zero_is_exact_and_the_range_survives_within_a_step(low: float, high: float) -> None:
    assume(high - low > 1e-6)
    found = affine.activation_quantization(low, high)
    ends = np.array([low, 0.0, high])
    back = affine.dequantize(affine.quantize(ends, found), found)
    assert back[1] == 0.0
    assert np.abs(back - ends).max() <= found.scale * 1.0001


def test_values_outside_of_the_range_saturate() -> None:
    found = affine.quantize([-1e9, 1e9], Quantization(scale=0.1, zero_point=3))
    assert found.tolist() == [-128, 127]


def test_weights_are_symmetric_and_never_reach_minus_128() -> None:
    weights = np.array([[-3.0, 0.5], [1.0, -0.25]], np.float32)
    scales = affine.weight_scales(weights, axis=1)
    assert scales.tolist() == pytest.approx([3 / 127, 0.5 / 127])
    assert affine.quantize_weights(weights, scales, axis=1).tolist() == [[-127, 127], [42, -64]]


@given(st.integers(-(2**31), 2**31 - 1), st.floats(1e-6, 0.999))
def test_the_fixed_point_product_is_within_a_step_of_the_real_one(accumulator: int, multiplier: float) -> None:
    mantissa, exponent = affine.fixed_point(multiplier)
    assert 2**30 <= mantissa < 2**31
    found = int(affine.multiply_fixed(np.array([accumulator]), mantissa, exponent)[0])
    assert abs(found - accumulator * mantissa * 2.0 ** (exponent - 31)) <= 1.0


def test_requantizing_adds_the_zero_point_and_clips() -> None:
    accumulator = np.array([[100, 100], [-100, 10**6]], np.int32)
    found = affine.requantize(accumulator, np.array([0.5, 0.25]), zero_point=-28)
    assert found.tolist() == [[22, -3], [-78, 127]]
    assert affine.requantize(accumulator, np.array([0.5, 0.25]), -28, lowest=-28).tolist() == [[22, -3], [-28, 127]]
