"""Raw values to real ones to stored ones, against the formulas written out."""

from typing import Any

import numpy as np
import pytest

from wherry.protocol.manifest import DType, Preprocessing, Quantization, TensorSpec
from wherry.protocol.preparation import dequantize, prepare, preprocess, quantize, round_half_away, to_real, to_stored

IMAGENET = Preprocessing(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PICTURES = np.random.default_rng(5).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


def spec(dtype: DType, quantization: Quantization | None = None, **also: Any) -> TensorSpec:
    return TensorSpec(name="x", shape=(1, 6, 5, 3), dtype=dtype, quantization=quantization, **also)


def test_preprocessing_is_the_formula_of_the_manifest() -> None:
    expected = (PICTURES / 255.0 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
    real = preprocess(PICTURES, IMAGENET)
    assert real.dtype == np.float32
    assert np.allclose(real, expected, atol=1e-6)


def test_channels_lie_last_or_in_front_of_rows_and_columns_with_a_batch_or_without() -> None:
    last = preprocess(PICTURES, IMAGENET, "NHWC")
    first = preprocess(PICTURES.transpose(0, 3, 1, 2), IMAGENET, "NCHW")
    assert np.array_equal(first.transpose(0, 2, 3, 1), last)
    assert np.array_equal(preprocess(PICTURES[0].transpose(2, 0, 1), IMAGENET, "NCHW"), first[0])
    assert np.array_equal(preprocess(PICTURES[0], IMAGENET, ""), last[0])


def test_one_number_is_for_all_channels_and_none_changes_nothing() -> None:
    assert preprocess(np.array([[0, 255]]), Preprocessing(scale=1 / 127.5, mean=(1.0,))).tolist() == [[-1.0, 1.0]]
    assert np.array_equal(preprocess(PICTURES, Preprocessing()), PICTURES.astype(np.float32))
    assert preprocess(np.float32(3.0), Preprocessing(std=(2.0,))).tolist() == 1.5


@pytest.mark.parametrize(("layout", "channels"), [("", 3), ("NHWC", 3), ("NCHW", 6)])
def test_numbers_that_do_not_fit_the_channels_are_refused(layout: str, channels: int) -> None:
    with pytest.raises(ValueError, match=f"std has 2 numbers for {channels} channels"):
        preprocess(PICTURES, Preprocessing(std=(1.0, 2.0)), layout)


def test_numbers_for_channels_of_what_has_none_are_refused() -> None:
    with pytest.raises(ValueError, match="mean has 3 numbers for 0 channels"):
        preprocess(np.zeros(4), IMAGENET, "NCHW")


def test_halves_are_rounded_away_from_zero() -> None:
    assert round_half_away([-2.5, -0.5, -0.49999997, 0.49999997, 0.5, 1.5]).tolist() == [-3, -1, 0, 0, 1, 2]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_stored_integers_saturate_at_the_ends_of_their_type(dtype: DType) -> None:
    ends = np.iinfo(dtype)
    low, high = quantize([-1e30, 1e30], Quantization(scale=0.5, zero_point=1), dtype)
    assert low == ends.min
    assert ends.max - int(high) < 1024  # the end of int64 is no float64


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_a_stored_value_comes_back_from_its_real_value(dtype: DType) -> None:
    quantization = Quantization(scale=0.0173, zero_point=11)
    stored = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
    assert np.array_equal(quantize(dequantize(stored, quantization), quantization, dtype), stored)
    assert np.array_equal(to_real(stored, spec(dtype, quantization)), dequantize(stored, quantization))


def test_a_scale_on_floats_means_nothing() -> None:
    odd = spec("float32", Quantization(scale=7.0, zero_point=3))
    assert to_stored(PICTURES, odd).dtype == np.float32
    assert np.array_equal(to_stored(PICTURES, odd), PICTURES)
    assert np.array_equal(to_real(to_stored(PICTURES, odd), odd), PICTURES)


def test_integers_without_quantization_are_the_values_themselves() -> None:
    ids = np.array([0, 7, 2**40])
    assert to_stored(ids, spec("int64")).tolist() == [0, 7, 2**40]
    assert to_stored(ids, spec("int32")).tolist() == [0, 7, 2**31 - 1]
    assert to_stored(np.array([0.0, 2.0]), spec("int32")).tolist() == [0, 2]
    assert to_stored(np.array([0.0, 2.0]), spec("bool")).tolist() == [False, True]


def test_prepared_is_preprocessed_then_stored() -> None:
    quantization = Quantization(scale=1 / 255, zero_point=-128)
    unit = spec("int8", quantization, preprocessing=Preprocessing(scale=1 / 255))
    assert np.array_equal(prepare(PICTURES, unit), (PICTURES.astype(int) - 128).astype(np.int8))
    assert np.array_equal(prepare(PICTURES / np.float32(255), spec("int8", quantization)), prepare(PICTURES, unit))
