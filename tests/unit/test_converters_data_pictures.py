"""Folders of pictures: classes, sizes, colors, and what no picture is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.sample_files import FIRST, LAST, TABLE, refused, take
from wherry.converters.data import check_labels, parse_preprocess
from wherry.converters.errors import DataError
from wherry.converters.model import End


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
