"""A camera's picture on its way to the model: size, color, layout, and what stands for what."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from wherry.agent.feeder.pictures import NoPicture, bring
from wherry.agent.worker.fit import fit
from wherry.protocol.manifest import Preprocessing, Quantization, TensorSpec

UNIT = Quantization(scale=1 / 255, zero_point=-128)


def spec(shape: tuple[int, ...], dtype: Any = "int8", layout: Any = "", **how: Any) -> TensorSpec:
    preprocessing = Preprocessing(**how) if how else None
    quantization = None if dtype.startswith("float") else UNIT
    return TensorSpec(
        name="x", shape=shape, dtype=dtype, quantization=quantization, layout=layout, preprocessing=preprocessing
    )


BGR = np.zeros((4, 6, 3), np.uint8)
BGR[..., 0], BGR[..., 1], BGR[..., 2] = 10, 20, 30


@pytest.mark.parametrize(
    ("wanted", "pixel"),
    [
        (spec((1, 4, 6, 3), scale=1 / 255, color="rgb"), [30, 20, 10]),
        (spec((1, 4, 6, 3), scale=1 / 255, color="bgr"), [10, 20, 30]),
        (spec((1, 4, 6, 3), scale=1 / 255), [30, 20, 10]),
        (spec((1, 4, 6, 1), scale=1 / 255), [22]),
        (spec((1, 4, 6, 1), scale=1 / 255, color="gray"), [22]),
    ],
)
def test_colors_are_the_manifests_or_those_of_the_shape(wanted: TensorSpec, pixel: list[int]) -> None:
    array = bring(BGR, wanted)
    assert array.shape == wanted.shape
    assert array[0, 0, 0].tolist() == pytest.approx(pixel, abs=1)
    assert fit(array, wanted).reshape(-1)[: len(pixel)].tolist() == pytest.approx(
        [value - 128 for value in pixel], abs=1
    )


def test_planes_come_first_where_the_layout_says_so() -> None:
    for wanted in (spec((1, 3, 4, 6), layout="NCHW", scale=1 / 255), spec((1, 3, 4, 6), scale=1 / 255)):
        array = bring(BGR, wanted)
        assert [array[0, plane].max() for plane in range(3)] == [30, 20, 10]


@pytest.mark.parametrize("shape", [(1, 4, 6), (4, 6), (1, 4, 6, 1)])
def test_gray_pictures_may_have_no_axis_for_their_channel(shape: tuple[int, ...]) -> None:
    assert bring(BGR, spec(shape, scale=1 / 255)).shape == shape


def test_without_preprocessing_pixels_are_stored_bytes_or_real_values() -> None:
    assert bring(BGR, spec((1, 4, 6, 3), "uint8")).dtype == np.uint8
    real = bring(BGR, spec((1, 4, 6, 3), "float32"))
    assert (real.dtype, real.max()) == (np.float32, 30)


def test_with_preprocessing_pixels_are_raw_also_where_the_model_stores_bytes() -> None:
    half = TensorSpec(
        name="x", shape=(1, 4, 6, 3), dtype="uint8", quantization=Quantization(scale=1.0, zero_point=0),
        preprocessing=Preprocessing(scale=0.5),
    )  # fmt: skip
    assert fit(bring(BGR, half), half).max() == 15


def test_pictures_are_drawn_to_size_nearly_as_the_converter_draws_them() -> None:
    chance = np.random.default_rng(4)
    coarse = chance.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC))
    wanted = spec((1, 96, 96, 3), scale=1 / 255, color="bgr")
    theirs = np.asarray(Image.fromarray(picture).resize((96, 96), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(bring(picture, wanted)[0] - theirs).mean() < 4


def test_enlarging_gives_the_size_too() -> None:
    assert bring(BGR, spec((1, 50, 70, 3), scale=1 / 255)).shape == (1, 50, 70, 3)


@pytest.mark.parametrize("shape", [(1, 10), (1, 4, 6, 5), (1, 2, 3, 4, 5)])
def test_what_is_no_picture_is_said(shape: tuple[int, ...]) -> None:
    with pytest.raises(NoPicture, match=r"x (is|takes)"):
        bring(BGR, spec(shape, scale=1 / 255))
