"""What calibration and evaluation data may be, and what is said about the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wherry.converters.data import check_fits, check_varies, evenly, load_samples
from wherry.converters.errors import DataError

GOOD = np.zeros((4, 2, 3), np.float32)
NAN = np.array([[0.0], [np.nan], [np.inf]])


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_integers_are_taken_as_they_are(tmp_path: Path) -> None:
    samples = load_samples(save(tmp_path / "a.npz", x=np.full((2, 3), 255, np.uint8), y=np.array([[0], [1]])))
    assert (samples.x.dtype, samples.span, len(samples)) == (np.float32, (255.0, 255.0), 2)
    assert samples.y is not None
    assert samples.y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "no array `x` (found: nothing)"),
        ({"images": GOOD}, "no array `x` (found: images)"),
        ({"x": GOOD[:0]}, "x is [0, 2, 3], expected [N, ...]"),
        ({"x": np.zeros(4)}, "x is [4], expected [N, ...]"),
        ({"x": np.array([["a"], ["b"]])}, "x holds <U1, expected numbers"),
        ({"x": NAN}, "NaN or infinite values in 2 of 3 samples, first in sample 1"),
        ({"x": np.array([[1e300]])}, "NaN or infinite"),
        ({"x": GOOD, "y": np.zeros(3, int)}, "y is [3], expected [4]"),
        ({"x": GOOD, "y": np.eye(4, dtype=int)}, "y is [4, 4], expected [4]"),
        ({"x": GOOD, "y": np.zeros(4)}, "y holds float64, expected integers"),
        ({"x": np.array([{}], object)}, "Python objects, which are not loaded"),
    ],
)
def test_wrong_arrays_are_refused_with_what_was_found(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    path = save(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError) as caught:
        load_samples(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.fix


def test_a_constant_is_no_calibration(tmp_path: Path) -> None:
    check_varies(load_samples(save(tmp_path / "real.npz", x=np.eye(3))))
    with pytest.raises(DataError, match="every value of x is 7"):
        check_varies(load_samples(save(tmp_path / "constant.npz", x=np.full((3, 2), 7.0))))


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.npz", x=GOOD).read_bytes()
    contents = {"cut.npz": whole[:-40], "text.npz": b"hello", "empty.npz": b"", "pickle.npz": b"\x80\x04N."}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "single.npy", GOOD)
    for name in (*contents, "single.npy", "missing.npz"):
        with pytest.raises(DataError, match=name):
            load_samples(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "labels", "classes", "said"),
    [
        ((2, 2), None, 10, "x is [4, 2, 3], the model takes [N, 2, 2]"),
        ((2, 3), [0, 1, 2, 10], 10, "labels are between 0 and 10, the model has the classes 0 to 9"),
        ((2, 3), [0, 1, 2, -1], 10, "labels are between -1 and 2"),
        ((2, 3), [0, 1, 2, 3], None, "not one score a class"),
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, shape: tuple[int, ...], labels: list[int] | None, classes: int | None, said: str
) -> None:
    arrays = {"x": GOOD} if labels is None else {"x": GOOD, "y": np.array(labels)}
    samples = load_samples(save(tmp_path / "data.npz", **arrays))
    with pytest.raises(DataError) as caught:
        check_fits(samples, shape, classes)
    assert said in caught.value.message


def test_samples_are_spread_evenly() -> None:
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 8).tolist() == [0, 1, 2]
    assert evenly(1, 8).tolist() == [0]
