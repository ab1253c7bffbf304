"""Each fault of calibration data is named, and sound data is left alone.

The pictures are smooth random ones, which neighbours make alike as in photographs; where ../shared/models is there,
the same faults are tried on CIFAR-10 too. The three catastrophes of FACTS.md are among them: values divided by 255,
noise, one sample.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from wherry.converters.data import SampleSet, load
from wherry.converters.data.checks import DataChecks, check_data
from wherry.converters.data.looks import neighbour_correlation
from wherry.converters.data.statistics import BINS
from wherry.converters.data.warning import DataWarning
from wherry.converters.model import End

MODELS = Path(__file__).parents[3] / "shared" / "models"
CHANCE = np.random.default_rng(7)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

Array = Any


def pictures(count: int, size: int = 24) -> Array:
    """[count, size, size, 3] whole numbers from 0 to 255, more red than blue."""
    coarse = CHANCE.random((count, 5, 5, 3))
    places = np.linspace(0, 4, size)
    low = np.minimum(places.astype(int), 3)
    share = (places - low)[:, None, None]
    rows = coarse[:, low] * (1 - share[None]) + coarse[:, low + 1] * share[None]
    turned = rows.swapaxes(1, 2)
    smooth = turned[:, low] * (1 - share[None]) + turned[:, low + 1] * share[None]
    values = smooth * 320 - 32 + CHANCE.normal(0, 6, smooth.shape) + np.array([12, 0, -12])
    return values.clip(0, 255).round()


def sample_set(values: Array, labels: Array | None = None, **also: Any) -> SampleSet:
    names = also.pop("class_names", ())
    inputs = {"image": np.asarray(values, np.float32), **also}
    return SampleSet("data", inputs, None if labels is None else np.asarray(labels, np.int64), names)


def end_of(values: Array, name: str = "image", **also: Any) -> End:
    return End(name=name, shape=(1, *values.shape[1:]), **also)


def look(calibration: SampleSet, evaluation: SampleSet | None = None) -> DataChecks:
    return check_data(calibration, evaluation, [end_of(values, name) for name, values in calibration.inputs.items()])


def kinds(calibration: SampleSet, evaluation: SampleSet | None = None) -> list[str]:
    return [warning.kind for warning in look(calibration, evaluation).warnings]


def only(kind: str, calibration: SampleSet, evaluation: SampleSet | None = None) -> DataWarning:
    found = [warning for warning in look(calibration, evaluation).warnings if warning.kind == kind]
    assert len(found) == 1, look(calibration, evaluation).warnings
    assert found[0].fix
    return found[0]


@pytest.fixture(autouse=True)
def _same_chance_in_every_order() -> None:
    CHANCE.bit_generator.state = np.random.default_rng(7).bit_generator.state


@pytest.fixture(scope="module", params=["synthetic", "cifar10"])
def data(request: pytest.FixtureRequest) -> Iterator[tuple[Array, SampleSet]]:
    """Calibration pictures, and an evaluation that is right."""
    if request.param == "synthetic":
        CHANCE.bit_generator.state = np.random.default_rng(8).bit_generator.state
        yield pictures(100), sample_set(pictures(150), np.arange(150) % 10)
        return
    names = ("cifar10_calibration_300.npz", "cifar10_test_1000.npz")
    if not all((MODELS / name).is_file() for name in names):
        pytest.skip(f"{MODELS} has no CIFAR-10")
    end = End(name="image", shape=(1, 32, 32, 3))
    calibration, evaluation = (load(str(MODELS / name), [end], {}, limit=150) for name in names)
    yield calibration.inputs["image"], evaluation


def test_sound_data_is_left_alone(data: tuple[Array, SampleSet]) -> None:
    values, evaluation = data
    assert kinds(sample_set(values), evaluation) == []
    assert kinds(sample_set(values, np.arange(len(values)) % 10)) == []
    assert kinds(sample_set(values / 255), sample_set(evaluation.inputs["image"] / 255)) == []


def test_catastrophe_divided_by_255(data: tuple[Array, SampleSet]) -> None:
    values, evaluation = data
    warning = only("scaling", sample_set(values / 255), evaluation)
    assert warning.strong
    assert warning.message == (
        "calibration is in 0..1 and evaluation in 0..255: calibration was divided by 255 where it should not be"
    )


def test_catastrophe_noise(data: tuple[Array, SampleSet]) -> None:
    values, evaluation = data
    noise = CHANCE.integers(0, 256, values.shape)
    for compared in (evaluation, None):
        warning = only("noise", sample_set(noise), compared)
        assert warning.strong
        assert "100% of calibration's pictures look like random noise" in warning.message
    assert {"noise", "scaling"} <= {*kinds(sample_set(CHANCE.random(values.shape)), evaluation)}
    assert {"noise", "scaling"} <= {*kinds(sample_set(CHANCE.normal(size=values.shape)), evaluation)}


def test_catastrophe_one_sample(data: tuple[Array, SampleSet]) -> None:
    values, evaluation = data
    for compared in (evaluation, None):
        assert "calibration is one sample" in only("few-samples", sample_set(values[:1]), compared).message
        repeated = only("few-samples", sample_set(values[[4] * 30]), compared)
        assert "all 30 calibration samples are the same one" in repeated.message
        assert repeated.strong


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (
            lambda x: x / 127.5 - 1,
            lambda x: x,
            "in -1..1 and evaluation in 0..255: calibration was scaled to -1..1 where",
        ),
        (lambda x: x, lambda x: x / 255, "in 0..255 and evaluation in 0..1: calibration was not divided by 255"),
        (
            lambda x: x,
            lambda x: x / 127.5 - 1,
            "in 0..255 and evaluation in -1..1: calibration was not scaled to -1..1",
        ),
        (
            lambda x: x / 255,
            lambda x: x / 127.5 - 1,
            "in 0..1 and evaluation in -1..1: calibration was divided by 255, where",
        ),
        (lambda x: x - 128, lambda x: x, "in -128..127 and evaluation in 0..255: calibration was shifted by 128"),
        (lambda x: (x / 255 - MEAN) / STD, lambda x: x, "calibration was normalized by ImageNet's mean and std where"),
        (
            lambda x: x / 255,
            lambda x: (x / 255 - MEAN) / STD,
            "divided by 255, where evaluation was normalized by ImageNet",
        ),
        (lambda x: x / 255**2, lambda x: x / 255, "calibration was divided by 255 once too often"),
        (lambda x: x * 255, lambda x: x, "calibration was not divided by 255, or evaluation once too often"),
        (lambda x: x + 400, lambda x: x, "calibration is shifted by"),
        (lambda x: x * 40, lambda x: x, "times as wide, so it was scaled in another way"),
    ],
)
def test_the_wrong_scale_is_named(
    data: tuple[Array, SampleSet], ours: Callable[[Array], Array], theirs: Callable[[Array], Array], said: str
) -> None:
    values, evaluation = data
    warning = only("scaling", sample_set(ours(values)), sample_set(theirs(evaluation.inputs["image"])))
    assert said in warning.message


def test_scales_of_sound_and_tables_are_named_too() -> None:
    walk = np.cumsum(CHANCE.normal(size=(120, 2000)), axis=1)
    walk /= np.abs(walk).max()
    found = only("scaling", sample_set((walk[::2] * 32767).round()), sample_set(walk[1::2]))
    assert "calibration is in -32768..32767 and evaluation in -1..1" in found.message
    table = CHANCE.normal(20, 4, (120, 6))
    found = only("scaling", sample_set(table[::2]), sample_set((table[1::2] - 20) / 4))
    assert "evaluation is standardized to mean 0 and deviation 1, calibration is not" in found.message


def test_few_samples_are_told_apart_by_how_bad_that_is() -> None:
    values = pictures(60)
    assert only("few-samples", sample_set(values[:9])).strong
    assert not only("few-samples", sample_set(values[:10])).strong
    assert kinds(sample_set(values[:50])) == []


def test_one_small_picture_says_nothing_of_the_scale() -> None:
    values = pictures(80)
    flat = np.full((1, *values.shape[1:]), 90.0) + CHANCE.integers(-9, 9, (1, *values.shape[1:]))
    assert "scaling" not in kinds(sample_set(flat), sample_set(values))


def test_repetitions_are_counted() -> None:
    values = pictures(60)
    warning = only("duplicates", sample_set(values[np.arange(80) % 60]))
    assert (warning.message, warning.strong) == ("20 of 80 calibration samples repeat others exactly", False)
    assert only("duplicates", sample_set(values[np.arange(150) % 60])).strong


def test_evaluation_samples_that_were_calibrated_with_are_counted() -> None:
    values = pictures(160)
    assert "5 of 60 evaluation samples" in only("overlap", sample_set(values[:105]), sample_set(values[100:])).message
    assert "all of 160" in only("overlap", sample_set(values), sample_set(values)).message


def test_constants_are_named() -> None:
    values, real = pictures(80), sample_set(pictures(80))
    dark = values * np.array([1, 1, 0])
    assert (
        "channel 2 of calibration's pictures is 0 everywhere"
        in only("constant-channel", sample_set(dark), real).message
    )
    blank = np.where(np.arange(80)[:, None, None, None] % 4, values, np.arange(80)[:, None, None, None])
    assert (
        "20 of 80 calibration samples have the same value everywhere"
        in only("constant-samples", sample_set(blank)).message
    )
    flags = np.ones((80, 1), np.float32)
    dead = only("constant-input", sample_set(values, flag=flags))
    assert "input flag is 1 in every calibration sample" in dead.message
    assert kinds(sample_set(values, flag=flags), sample_set(real.inputs["image"], flag=flags)) == []


def test_features_that_change_in_evaluation_only_are_named() -> None:
    table = CHANCE.normal(size=(120, 6))
    still = table[:60] * np.array([1, 1, 1, 0, 1, 0])
    assert (
        "2 of 6 values of input image never change"
        in only("constant-channel", sample_set(still), sample_set(table[60:])).message
    )


def test_channels_first_are_looked_at_as_such() -> None:
    values = pictures(80).transpose(0, 3, 1, 2)
    assert kinds(sample_set(values), sample_set(pictures(80).transpose(0, 3, 1, 2))) == []
    dark = values * np.array([0, 1, 1])[:, None, None]
    assert "channel 0" in only("constant-channel", sample_set(dark)).message


def test_red_and_blue_swapped_is_suspected() -> None:
    values = pictures(100)
    assert "red and blue" in only("channel-order", sample_set(values[..., ::-1]), sample_set(pictures(100))).message


def test_ranges_that_do_not_fit_each_other_are_named() -> None:
    table = CHANCE.normal(size=(400, 6))
    narrow = only("range-narrow", sample_set(table[:200].clip(-0.8, 0.8)), sample_set(table[200:]))
    assert narrow.strong
    assert "lie outside of calibration's range, -0.8 to 0.8" in narrow.message
    outlier = table[:200].copy()
    outlier[0, 0] = 60
    assert "calibration reaches from" in only("range-wide", sample_set(outlier), sample_set(table[200:])).message


def test_classes_are_compared() -> None:
    values, real = pictures(100), sample_set(pictures(100), np.arange(100) % 10)
    assert (
        "all 100 calibration samples are of class 3"
        in only("one-class", sample_set(values, np.full(100, 3)), real).message
    )
    tilted = np.where(np.arange(100) < 95, 0, 1)
    assert "95 samples of class 0 (a) and 5 of class 1 (b)" in (
        only("unbalanced", sample_set(values, tilted, class_names=("a", "b"))).message
    )
    half = only("missing-classes", sample_set(values, np.arange(100) % 4), real)
    assert "6 of evaluation's 10 classes are not in calibration: 4, 5, 6, 7, 8" in half.message
    folders = sample_set(values, np.arange(100) % 2, class_names=("cat", "dog"))
    others = sample_set(real.inputs["image"], np.arange(100) % 2, class_names=("cat", "fox"))
    assert "dog, fox" in only("class-names", folders, others).message


def test_with_few_samples_a_class_there_is_missing_by_chance() -> None:
    values = pictures(100)
    assert "missing-classes" not in kinds(
        sample_set(values, np.arange(100) % 80), sample_set(values + 1, np.arange(100))
    )


def test_strong_warnings_come_first_and_all_goes_into_json() -> None:
    values = pictures(80)
    found = look(sample_set(values[np.arange(20) % 15] / 255), sample_set(values))
    assert [warning.strong for warning in found.warnings] == sorted((w.strong for w in found.warnings), reverse=True)
    assert {warning.kind for warning in found.warnings} == {"scaling", "few-samples", "duplicates"}
    assert msgspec.json.decode(msgspec.json.encode(found), type=DataChecks) == found


def test_histograms_of_both_sets_are_over_one_axis() -> None:
    values = pictures(60)
    [found] = look(sample_set(values / 255), sample_set(values)).ranges
    assert (found.axis_low, found.axis_high) == (0.0, 255.0)
    assert found.evaluation is not None
    for spread in (found.calibration, found.evaluation):
        assert len(spread.histogram) == BINS
        assert sum(spread.histogram) == values.size
    assert found.calibration.histogram[0] == values.size
    assert (found.evaluation.low, found.evaluation.high) == (values.min(), values.max())
    assert found.evaluation.mean == pytest.approx(values.mean(), rel=1e-5)
    assert found.evaluation.std == pytest.approx(values.std(), rel=1e-5)


def test_inputs_of_integers_and_truths_are_looked_through() -> None:
    ids = CHANCE.integers(0, 1000, (80, 12)).astype(np.int32)
    mask = CHANCE.random((80, 12)) < 0.5
    ours = SampleSet("data", {"ids": ids[:60], "mask": mask[:60]})
    theirs = SampleSet("data", {"ids": ids[60:], "mask": mask[60:]})
    assert kinds(ours, theirs) == []
    assert kinds(ours) == []


def test_noise_has_no_neighbours_and_pictures_have() -> None:
    assert neighbour_correlation(pictures(20)).min() > 0.5
    assert np.abs(neighbour_correlation(CHANCE.random((20, 24, 24, 3)))).max() < 0.15
    assert neighbour_correlation(np.zeros((3, 8, 8, 1))).size == 0
