"""What `--preprocess` says, read, pointed at where it is wrong, and done the same on the device."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.sample_files import FIRST, IDS, LAST, PICTURES, TABLE, refused, save, take
from wherry.agent.feeder.directory import Directory
from wherry.agent.feeder.samples import Sample
from wherry.agent.worker.fit import fit
from wherry.converters.data import parse_preprocess
from wherry.converters.errors import BadRequest
from wherry.converters.model import End
from wherry.protocol.manifest import Preprocessing, Quantization, TensorSpec
from wherry.protocol.preparation import to_stored


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


@pytest.mark.parametrize("end", [LAST, FIRST])
@pytest.mark.parametrize("text", ["none", "unit", "imagenet", "scale=0.5,mean=3,std=1:2:3"])
def test_the_device_prepares_a_raw_sample_as_the_converter_did(tmp_path: Path, end: End, text: str) -> None:
    """Golden vectors and accuracy would else be of another model than the one that serves."""
    how = parse_preprocess([text])
    save(tmp_path / "raw.npz", x=PICTURES)
    real = take(tmp_path / "raw.npz", end, layout="nhwc", preprocessing=how).inputs["image"]
    spec = TensorSpec(
        name="image",
        shape=(1, 4, 5, 3),
        dtype="int8",
        quantization=Quantization(scale=0.021, zero_point=-7),
        layout="NHWC",
        preprocessing=how.get("", Preprocessing()),
    )
    converted = to_stored(real if end is LAST else real.transpose(0, 2, 3, 1), spec)
    files = Directory(tmp_path)
    items = [files.take([spec]) for _ in PICTURES]
    on_device = [fit(item.inputs[0], spec) for item in items if isinstance(item, Sample)]
    assert np.array_equal(np.concatenate(on_device), converted)
