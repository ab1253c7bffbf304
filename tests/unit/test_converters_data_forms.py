"""Every form of data brought to the model's inputs, and what is said where that cannot be."""

import pickle
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wherry.converters.data import SampleSet, check_labels, check_variation, load, parse_preprocess, rows
from wherry.converters.data.callables import AT_MOST_TIMES
from wherry.converters.data.spread import evenly, evenly_by_class
from wherry.converters.errors import BadRequest, ConversionError, DataError
from wherry.converters.model import End
from wherry.protocol.manifest import Preprocessing

TABLE = End(name="table", shape=(1, 3))
LAST = End(name="image", shape=(1, 4, 5, 3))
FIRST = End(name="image", shape=(1, 3, 4, 5), axes=(0, 2, 3, 1))
IDS = End(name="ids:0", shape=(1, 2), dtype="int32")
PICTURES = np.random.default_rng(3).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def take(where: str | Path, *ends: End, limit: int = 100, **also: Any) -> SampleSet:
    return load(str(where), ends, also.pop("preprocessing", {}), limit=limit, **also)


def refused(where: str | Path, *ends: End, kind: type[ConversionError] = DataError, **also: Any) -> ConversionError:
    with pytest.raises(kind) as caught:
        take(where, *ends, **also)
    assert caught.value.fix
    assert kind is BadRequest or str(where).rstrip("/") in caught.value.message
    return caught.value


# ── arrays ───────────────────────────────────────────────────────────────────────────────────────


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
    with pytest.raises(DataError, match="not one score a class"):
        check_labels(found, None)


def test_a_constant_is_no_data(tmp_path: Path) -> None:
    check_variation(take(save(tmp_path / "a.npz", x=PICTURES), LAST))
    with pytest.raises(DataError, match="every value of table is 7"):
        check_variation(take(save(tmp_path / "b.npz", x=np.full((3, 3), 7)), TABLE))


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def paint(path: Path, value: Any, size: tuple[int, int] = (8, 10), mode: str = "RGB", **also: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), value).save(path, **also)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in (("dog", 200), ("cat", 50)):
        paint(tmp_path / "set" / name / "a.png", (value, value + 1, value + 2))
        paint(tmp_path / "set" / name / "b.JPG", (value, value, value))
    (tmp_path / "set" / ".cache").mkdir()
    (tmp_path / "set" / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / "set" / "cat" / "notes.txt").write_text("not a picture")
    return tmp_path / "set"


def test_folders_are_classes_in_the_order_of_their_names(folder: Path) -> None:
    found = take(folder, LAST)
    assert found.class_names == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.inputs["image"].shape == (4, 4, 5, 3)
    assert found.inputs["image"][2, 0, 0].tolist() == [200, 201, 202]
    assert np.array_equal(take(folder, FIRST).inputs["image"].transpose(0, 2, 3, 1), found.inputs["image"])
    assert take(folder, LAST, layout="nchw").inputs["image"].shape == (4, 4, 5, 3)


def test_the_names_of_the_classes_number_the_folders(folder: Path) -> None:
    found = take(folder, LAST, class_names=("dog", "bird", "cat"))
    assert found.labels is not None
    assert found.labels.tolist() == [2, 2, 0, 0]
    assert take(folder, LAST, class_names=("dog", "bird")).class_names == ("cat", "dog")


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for number in range(9):
        paint(tmp_path / f"{number}.bmp", (number,) * 3)
    found = take(tmp_path, LAST, limit=3)
    assert (found.labels, found.given) == (None, 9)
    assert found.inputs["image"][:, 0, 0, 0].tolist() == [0, 4, 8]


def test_color_size_and_scale_come_from_the_preprocessing_and_the_model(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", (10, 20, 30))
    how = parse_preprocess(["unit,color=bgr,size=4x5"])
    assert take(tmp_path, LAST, preprocessing=how).inputs["image"][0, 0, 0] * 255 == pytest.approx([30, 20, 10])
    gray = take(tmp_path, End(name="x", shape=(1, 6, 6, 1))).inputs["x"]
    assert gray.shape == (1, 6, 6, 1)
    assert gray[0, 0, 0, 0] == pytest.approx(0.299 * 10 + 0.587 * 20 + 0.114 * 30, abs=1)
    assert take(tmp_path, End(name="x", shape=(1, 6, 7))).inputs["x"].shape == (1, 6, 7)
    assert take(tmp_path, End(name="x", shape=(1, 6, 7, 4))).inputs["x"][0, 0, 0].tolist() == [10, 20, 30, 255]


def test_pictures_of_all_kinds_come_upright_with_eight_bits(tmp_path: Path) -> None:
    left = Image.new("RGB", (10, 4))
    left.paste((255, 255, 255), (0, 0, 5, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # was taken with the camera turned: its left is on top
    left.save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "b.png")
    paint(tmp_path / "c.gif", 0, mode="P", transparency=0)
    paint(tmp_path / "d.png", (255, 255, 255, 0), mode="RGBA")
    paint(tmp_path / "e.tif", 1, mode="1")
    found = take(tmp_path, End(name="x", shape=(1, 10, 4, 3))).inputs["x"]
    assert found[0, 1].mean() > 240
    assert found[0, 8].mean() < 15
    assert found[1].min() == 255
    assert found[3].min() == 255
    assert found[4].min() == 255


def test_a_picture_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (folder / "dog" / "a.png").read_bytes()
    for content in (b"hello", b"", whole[: len(whole) // 2], b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        (folder / "dog" / "c.png").write_bytes(content)
        assert "dog/c.png: not a picture that can be read" in refused(folder, LAST).message
    (folder / "dog" / "c.png").unlink()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    assert "decompression bomb" in refused(folder, LAST).message


def test_folders_that_hold_no_data_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "one level deeper, as in set/cat: name" in refused(tmp_path, LAST).message
    (tmp_path / "empty").mkdir()
    assert "a folder without pictures" in refused(tmp_path / "empty", LAST).message
    (tmp_path / "empty" / "a.dcm").touch()
    assert "(found: .dcm)" in refused(tmp_path / "empty", LAST).message
    paint(folder / "loose.png", (1, 2, 3))
    assert "both in folders and beside them, as loose.png" in refused(folder, LAST).message


def test_pictures_are_for_models_that_take_one(folder: Path) -> None:
    assert "a folder of pictures, but the model takes [1, 3]" in refused(folder, TABLE).message
    assert "the model has 2 inputs: image, table" in refused(folder, LAST, TABLE).message


def test_more_folders_than_classes_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="has 2 folders of classes, the model has 1 classes"):
        check_labels(take(folder, LAST), 1)


# ── callables ────────────────────────────────────────────────────────────────────────────────────

LOADERS = """
import numpy as np

X = np.arange(12.0).reshape(4, 3)
NOT_CALLABLE = 3

def arrays(): return X
def pair(): return X, [0, 1, 2, 3]
def mapping(): return {"table": X, "ids": np.ones((4, 2), int), "y": [0, 1, 2, 3]}
def both(): return (X, np.ones((4, 2)))
def both_and_labels(): return (X, np.ones((4, 2))), np.arange(4)
def samples(): yield from X
def labelled(): return [(row, number) for number, row in enumerate(X)]
def batches(): yield X[:3], [0, 1, 2]; yield X[3:], [3]
def dicts(): return iter([{"table": row, "ids": [1, 2], "y": 0} for row in X])
def forever():
    number = 0
    while True:
        yield np.full(3, number)
        number += 1
def nothing(): return None
def no_samples(): return []
def ragged(): return [X[0], X[1, :2]]
def half_labelled(): return [(X[0], 1), X[1]]
def odd_tuple(): return X, X, X
def needy(path): return X
def failing(): raise KeyError("weights")
def leaving(): raise SystemExit(3)
def objects(): return np.array([{}, {}], object)

class Loader:
    @staticmethod
    def load(): return X
"""


@pytest.fixture
def loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "deck").mkdir()
    (tmp_path / "deck" / "__init__.py").touch()
    (tmp_path / "deck" / "loaders.py").write_text(LOADERS)
    (tmp_path / "deck" / "broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    path = [*sys.path]
    yield
    assert sys.path == path
    for name in [name for name in sys.modules if name.partition(".")[0] == "deck"]:
        del sys.modules[name]


@pytest.mark.usefixtures("loaders")
class TestCallables:
    @pytest.mark.parametrize("name", ["arrays", "pair", "samples", "labelled", "batches", "Loader.load"])
    def test_one_input_in_any_form(self, name: str) -> None:
        found = take(f"deck.loaders:{name}", TABLE)
        assert found.inputs["table"].tolist() == np.arange(12.0).reshape(4, 3).tolist()
        has_labels = name in ("pair", "labelled", "batches")
        assert (found.labels is not None and found.labels.tolist()) == (has_labels and [0, 1, 2, 3])

    @pytest.mark.parametrize("name", ["mapping", "both", "both_and_labels", "dicts"])
    def test_several_inputs_in_any_form(self, name: str) -> None:
        found = take(f"deck.loaders:{name}", TABLE, IDS)
        assert [values.shape for values in found.inputs.values()] == [(4, 3), (4, 2)]
        assert (found.labels is None) == (name == "both")

    def test_of_samples_without_end_some_are_taken_evenly(self) -> None:
        found = take("deck.loaders:forever", TABLE, limit=5)
        firsts = found.inputs["table"][:, 0]
        assert len(found) == 5
        assert firsts[0] == 0
        assert 0.7 * 5 * AT_MOST_TIMES < firsts[-1] < 5 * AT_MOST_TIMES

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("deck.loaders:missing", "the module deck.loaders has no missing"),
            ("deck.missing:load", "there is no module deck.missing"),
            ("dock:load", "there is no module dock"),
            ("deck.broken:load", "raised ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
            ("deck.loaders:NOT_CALLABLE", "is int and cannot be called"),
            ("deck.loaders:needy", "cannot be called without arguments: missing a required argument: 'path'"),
            ("deck.loaders:failing", "raised KeyError: 'weights' ("),
            ("deck.loaders:leaving", "raised SystemExit: 3 ("),
            ("deck.loaders:nothing", "returned NoneType, which is no data"),
            ("deck.loaders:no_samples", "gave no samples"),
            ("deck.loaders:ragged", "x is [3] in the first sample and [2] in another, 1"),
            ("deck.loaders:half_labelled", "y is [] in the first sample and missing in another, 1"),
            ("deck.loaders:odd_tuple", "gave a tuple of 3, which is neither inputs nor (inputs, label)"),
            ("deck.loaders:objects", "x holds Python objects"),
        ],
    )
    def test_what_goes_wrong_is_told(self, name: str, said: str) -> None:
        assert said in refused(name, TABLE).message

    def test_the_line_that_raised_is_named(self) -> None:
        line = next(number for number, text in enumerate(LOADERS.splitlines(), 1) if "def failing" in text)
        assert f"loaders.py:{line})" in refused("deck.loaders:failing", TABLE).message


# ── preprocessing ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", {}),
        ("image:none", {}),
        ("unit", {"": Preprocessing(scale=1 / 255)}),
        ("signed", {"": Preprocessing(scale=1 / 127.5, mean=(1.0,))}),
        ("unit,color=gray", {"": Preprocessing(scale=1 / 255, color="gray")}),
        (
            "scale=1/255,mean=0.5:0.4:0.3,std=.1:.2:.3,size=224x192,color=rgb",
            {"": Preprocessing(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3), size=(224, 192), color="rgb")},
        ),
        ("image:0:mean=-1:2", {"image:0": Preprocessing(mean=(-1.0, 2.0))}),
        ("image:0:unit", {"image:0": Preprocessing(scale=1 / 255)}),
    ],
)
def test_preprocessing_is_read(text: str, expected: dict[str, Preprocessing]) -> None:
    assert parse_preprocess([text]) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "`` at character 1: neither a preset"),
        ("imagnet", "`imagnet` at character 1: neither a preset"),
        ("a:imagnet", "`imagnet` at character 3: neither a preset"),
        ("unit,signed", "`signed` at character 6: neither a preset"),
        ("unit,men=1", "`men=1` at character 6: no such key; there are scale, mean, std, size, color"),
        ("scale=0", "`scale=0` at character 1: 0 is not above 0"),
        ("scale=1/0", "1/0 is not a number"),
        ("scale=1e400", "1e400 is not finite"),
        ("scale=", "nothing is not a number"),
        ("mean=1:b:2", "b is not a number"),
        ("std=1:0:1", "0 is not above 0"),
        ("size=224", "224 is not HEIGHTxWIDTH"),
        ("size=0x4", "0x4 is not HEIGHTxWIDTH"),
        ("color=red", "red is none of gray, rgb, bgr"),
        ("scale=2,scale=3", "`scale=3` at character 9: scale is said twice"),
    ],
)
def test_a_fault_in_preprocessing_is_pointed_at(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_preprocess([text])
    assert said in caught.value.message
    assert caught.value.fix


def test_one_input_is_told_of_once() -> None:
    assert [*parse_preprocess(["a:unit", "b:signed"])] == ["a", "b"]
    with pytest.raises(BadRequest, match="says again what was said of input a"):
        parse_preprocess(["a:unit", "a:signed"])


@pytest.mark.parametrize(
    ("texts", "ends", "said"),
    [
        (["unit"], [TABLE, IDS], "does not say of which input; the model has table, ids:0"),
        (["other:unit"], [TABLE], "of other: the model has no such input"),
        (["size=4x4"], [LAST], "size=4x4, but the model takes [1, 4, 5, 3]"),
        (["size=4x4"], [TABLE], "size and color are for pictures"),
        (["color=gray"], [FIRST], "color=gray, but the model takes 3 channels"),
        (["mean=1:2"], [FIRST], "mean has 2 numbers, the input 3 channels"),
        (["std=1:2"], [TABLE], "std has 2 numbers, the input 3 channels"),
    ],
)
def test_preprocessing_that_no_input_can_have_is_refused(
    tmp_path: Path, texts: list[str], ends: list[End], said: str
) -> None:
    error = refused(tmp_path / "any.npz", *ends, kind=BadRequest, preprocessing=parse_preprocess(texts))
    assert said in error.message


def test_a_layout_is_one_of_two(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=PICTURES)
    assert "--layout chw" in refused(path, LAST, kind=BadRequest, layout="chw").message
