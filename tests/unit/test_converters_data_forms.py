"""Archives and arrays brought to the inputs of a model, and what is said where that cannot be."""

import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.sample_files import FIRST, IDS, LAST, PICTURES, TABLE, refused, save, take
from wherry.converters.data import check_labels, check_variation, load, parse_preprocess, rows
from wherry.converters.data.spread import evenly, evenly_by_class
from wherry.converters.errors import DataError
from wherry.converters.model import End
from wherry.protocol.manifest import Quantization


def test_an_archive_is_taken_as_it_is_in_the_type_of_the_input(tmp_path: Path) -> None:
    found = take(save(tmp_path / "a.npz", x=PICTURES, y=np.arange(6)), LAST)
    assert found.inputs["image"].dtype == np.float32
    assert np.array_equal(found.inputs["image"], PICTURES)
    assert found.labels is not None
    assert (found.labels.tolist(), found.labels.dtype, len(found), found.given) == ([*range(6)], np.int64, 6, 6)


@pytest.mark.parametrize("make", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("chunk_bytes", [1, 100, 10**6])
def test_samples_of_a_big_file_are_spread_evenly_however_it_is_read(
    tmp_path: Path, make: Any, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK_BYTES", chunk_bytes)
    values = np.arange(300, dtype=">f8").reshape(100, 3)
    make(tmp_path / "a.npz", x=values, f=np.asfortranarray(values))
    np.save(tmp_path / "a.npy", values)
    expected = values[evenly(100, 7)]
    assert np.array_equal(take(tmp_path / "a.npz", TABLE, limit=7).inputs["table"], expected)
    assert np.array_equal(take(tmp_path / "a.npy", TABLE, limit=7).inputs["table"], expected)
    by_column = take(tmp_path / "a.npz", End(name="f", shape=(1, 3)), End(name="x", shape=(1, 3)), limit=7)
    assert np.array_equal(by_column.inputs["f"], expected)
    assert (len(by_column), by_column.given) == (7, 100)


def test_several_inputs_are_found_by_their_names_in_the_order_of_the_model(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", ids=np.ones((4, 2)), table=np.zeros((4, 3)), y=np.arange(4))
    found = take(path, TABLE, IDS)
    assert [*found.inputs] == ["table", "ids:0"]
    assert (found.inputs["ids:0"].dtype, found.inputs["ids:0"].shape) == (np.int32, (4, 2))
    assert found.labels is not None


def test_an_input_called_y_leaves_labels_to_the_classes(tmp_path: Path) -> None:
    ends = [End(name=name, shape=(1, 3)) for name in ("x", "y")]
    path = save(tmp_path / "a.npz", x=np.zeros((2, 3)), y=np.ones((2, 3)), labels=np.array([1, 0]))
    found = take(path, *ends)
    assert found.inputs["y"].max() == 1
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]


def test_an_input_without_a_batch_takes_samples_of_its_whole_shape(tmp_path: Path) -> None:
    end = End(name="state", shape=(1, 3), batched=False)
    assert take(save(tmp_path / "a.npz", x=np.ones((7, 1, 3))), end).inputs["state"].shape == (7, 1, 3)


def test_the_layout_of_the_data_is_turned_to_that_of_the_source(tmp_path: Path) -> None:
    last, first = save(tmp_path / "l.npz", x=PICTURES), save(tmp_path / "f.npz", x=PICTURES.transpose(0, 3, 1, 2))
    assert np.array_equal(take(last, FIRST, layout="nhwc").inputs["image"], PICTURES.transpose(0, 3, 1, 2))
    assert np.array_equal(take(first, LAST, layout="nchw").inputs["image"], PICTURES)
    assert np.array_equal(take(first, FIRST, layout="nchw").inputs["image"], PICTURES.transpose(0, 3, 1, 2))


def test_preprocessing_follows_the_channels_of_the_source(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=PICTURES)
    how = parse_preprocess(["imagenet"])
    last = take(path, LAST, preprocessing=how).inputs["image"]
    first = take(path, FIRST, layout="nhwc", preprocessing=how).inputs["image"]
    assert np.array_equal(first.transpose(0, 2, 3, 1), last)
    assert np.allclose(last[..., 1], (PICTURES[..., 1] / 255 - 0.456) / 0.224, atol=1e-5)


def test_balanced_samples_are_as_many_of_one_class_as_of_another(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [90, 6, 4])
    path = save(tmp_path / "a.npz", x=np.arange(300).reshape(100, 3), y=labels)
    found = take(path, TABLE, limit=20, balanced=True).labels
    assert found is not None
    assert np.bincount(found).tolist() == [10, 6, 4]
    plain = take(path, TABLE, limit=20).labels
    assert plain is not None
    assert np.bincount(plain).tolist() == [18, 1, 1]


@pytest.mark.parametrize("wanted", [1, 2, 5, 99, 1000])
def test_spreading_within_classes_keeps_the_number(wanted: int) -> None:
    labels = np.random.default_rng(1).integers(0, 7, 100)
    chosen = evenly_by_class(labels, wanted)
    assert len(chosen) == min(wanted, 100)
    assert np.array_equal(chosen, np.unique(chosen))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "no array `x` (found: nothing)"),
        ({"images": PICTURES, "y": np.arange(6)}, "no array `x` (found: images, y)"),
        ({"x": PICTURES[:0]}, "x is [0, 4, 5, 3], expected [N, ...]"),
        ({"x": np.float32(4)}, "x is [], expected [N, ...]"),
        ({"x": np.array([["a"], ["b"]])}, "x holds <U1, expected numbers"),
        ({"x": PICTURES + 1j}, "x holds complex128, expected numbers"),
        (
            {"x": np.where(np.arange(3) == 1, np.nan, PICTURES)},
            "NaN or infinite values in 6 of 6 samples, first in sample 0",
        ),
        ({"x": PICTURES * 1e300}, "NaN or infinite"),
        ({"x": PICTURES[:, :3]}, "x is [6, 3, 5, 3], the model takes [N, 4, 5, 3]"),
        ({"x": PICTURES, "y": np.zeros(3, int)}, "y is [3], expected [6]"),
        ({"x": PICTURES, "y": np.eye(6, dtype=int)}, "y is [6, 6], expected [6]"),
        ({"x": PICTURES, "y": np.zeros(6)}, "y holds float64, expected integers"),
        ({"x": np.array([{}], object)}, "Python objects, which are not loaded"),
        ({"x": PICTURES, "y": np.array([{}] * 6, object)}, "y holds object"),
    ],
)
def test_wrong_arrays_are_refused_with_what_was_found(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    assert said in refused(save(tmp_path / "data.npz", **arrays), LAST).message


@pytest.mark.parametrize(
    ("end", "x", "fix"),
    [
        (LAST, PICTURES.transpose(0, 3, 1, 2), "say --layout nchw"),
        (FIRST, PICTURES, "say --layout nhwc"),
        (LAST, PICTURES[0], "one sample without the first axis"),
        (End(name="x", shape=(1, 4, 5, 1)), PICTURES[..., 0], "x.reshape(-1, 4, 5, 1)"),
        (LAST, PICTURES[:, :3], "give them as a folder of pictures, which are resized"),
        (TABLE, np.zeros((4, 2)), "bring each sample to the model's input shape"),
    ],
)
def test_a_wrong_shape_comes_with_what_it_looks_like(tmp_path: Path, end: End, x: Any, fix: str) -> None:
    assert fix in refused(save(tmp_path / "data.npz", x=x), end).fix


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.array([[0.5, 1.0]]), "holds fractions, the model takes int32"),
        (np.array([[0, 2**40]]), "is between 0 and 1.09951e+12, the model takes int32"),
    ],
)
def test_integers_are_given_to_models_of_integers(tmp_path: Path, ids: Any, said: str) -> None:
    assert said in refused(save(tmp_path / "a.npz", x=ids), IDS).message


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    end = End(name="x", shape=(1, 1), dtype="float16")
    assert "exceeds the range of float16" in refused(save(tmp_path / "a.npz", x=np.array([[1e5]])), end).message


def test_missing_and_unequal_inputs_are_named(tmp_path: Path) -> None:
    one = refused(save(tmp_path / "a.npz", x=np.zeros((2, 3))), TABLE, IDS)
    assert "no array `table` and `ids:0` (found: x); the model has the inputs table, ids:0" in one.message
    other = refused(save(tmp_path / "b.npz", table=np.zeros((2, 3)), ids=np.zeros((3, 2))), TABLE, IDS)
    assert "different numbers of samples: table 2, ids:0 3" in other.message


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    whole = Path(save(tmp_path / "whole.npz", x=PICTURES)).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (tmp_path / "trap.npz").touch()
    with zipfile.ZipFile(tmp_path / "trap.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(PICTURES))
    contents = {"cut.npz": whole[:-40], "flipped.npz": bytes(flipped), "text.npz": b"hello", "empty.npz": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "whole.npy", PICTURES)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-9])
    for name in (*contents, "trap.npz", "cut.npy"):
        assert "not an .npz or .npy file, or damaged" in refused(tmp_path / name, LAST).message
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(PICTURES))
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    for name in ("pickle.npz", "objects.npy"):
        assert "holds Python objects, which are not loaded" in refused(tmp_path / name, LAST).message
    assert "no such file or folder" in refused(tmp_path / "missing.npz", LAST).message


def test_a_damaged_archive_never_gives_anything_but_a_refusal(tmp_path: Path) -> None:
    whole = Path(save(tmp_path / "a.npz", x=PICTURES, y=np.arange(6))).read_bytes()
    chance = random.Random(5)
    bad = 0
    for attempt in range(200):
        data = bytearray(whole[: chance.randrange(len(whole))] if attempt % 3 == 0 else whole)
        for _ in range(attempt % 4):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "a.npz").write_bytes(data)
        try:
            take(tmp_path / "a.npz", LAST)
        except DataError:
            bad += 1
    assert bad > 80


def test_labels_are_held_against_the_model(tmp_path: Path) -> None:
    found = take(save(tmp_path / "a.npz", x=PICTURES, y=np.array([0, 1, 2, 3, 4, 10])), LAST)
    check_labels(found, 11)
    check_labels(found.without_labels(), None)
    with pytest.raises(DataError, match="labels are between 0 and 10, the model has the classes 0 to 9"):
        check_labels(found, 10)
    with pytest.raises(DataError, match="not one score a class") as caught:
        check_labels(found, None)
    assert "evaluation.output" in caught.value.fix


def test_values_in_place_of_labels_are_told_from_class_numbers(tmp_path: Path) -> None:
    fractions = refused(save(tmp_path / "a.npz", x=PICTURES, y=np.linspace(0.5, 9, 6, dtype=np.float32)), LAST)
    assert "y holds float32 with fractions, which are no class numbers" in fractions.message
    assert "leave `y` out" in fractions.fix
    whole = refused(save(tmp_path / "b.npz", x=PICTURES, y=np.arange(6.0)), LAST)
    assert whole.fix == "use y.astype('int64')"
    names = refused(save(tmp_path / "c.npz", x=PICTURES, y=np.array(["cat"] * 6)), LAST)
    assert "numpy.unique" in names.fix


def test_a_constant_is_no_data(tmp_path: Path) -> None:
    check_variation(take(save(tmp_path / "a.npz", x=PICTURES), LAST))
    with pytest.raises(DataError, match="every value of table is 7"):
        check_variation(take(save(tmp_path / "b.npz", x=np.full((3, 3), 7)), TABLE))


def test_a_model_of_stored_integers_takes_them_or_the_real_values(tmp_path: Path) -> None:
    end = End(name="x", shape=(1, 2), dtype="uint8", quantization=Quantization(scale=0.5, zero_point=128))
    np.savez(tmp_path / "stored.npz", x=np.array([[128, 130]], np.uint8))
    np.savez(tmp_path / "real.npz", x=np.array([[0.0, 1.0]]))
    for name in ("stored", "real"):
        samples = load(str(tmp_path / f"{name}.npz"), [end], {}, limit=8)
        assert samples.inputs["x"].tolist() == [[0.0, 1.0]], name
