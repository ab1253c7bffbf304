"""The source that is a directory: order, types, quantization, and every kind of bad file."""

import os
import pickle
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.fake_interpreter import INPUT
from wherry.agent.feeder import directory as source
from wherry.agent.feeder.directory import Directory
from wherry.agent.feeder.samples import Bad, Idle, Item, Sample
from wherry.agent.worker.fit import fit
from wherry.protocol.manifest import DType, Preprocessing, Quantization, TensorSpec
from wherry.protocol.preparation import to_stored

FLOAT_INPUT = TensorSpec(name="x", shape=(1, 4), dtype="float32")


def save(directory: Path, name: str, **arrays: Any) -> None:
    np.savez(directory / name, **arrays)


def take(directory: Path, count: int, spec: TensorSpec = INPUT) -> list[Item]:
    files = Directory(directory)
    return [files.take([spec]) for _ in range(count)]


def firsts(items: list[Item]) -> list[int]:
    return [int(np.ravel(item.inputs[0])[0]) for item in items if isinstance(item, Sample)]


def rows(*values: int) -> Any:
    return np.array([[value] * 4 for value in values], np.int8)


def test_files_come_in_name_order_again_and_again(tmp_path: Path) -> None:
    save(tmp_path, "b.npz", x=rows(3))
    save(tmp_path, "a.npz", x=rows(1, 2))
    assert firsts(take(tmp_path, 7)) == [1, 2, 3, 1, 2, 3, 1]


def test_labels_come_along_where_there_are_any(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=rows(1, 2), y=np.array([7, 9]))
    save(tmp_path, "b.npz", x=rows(3))
    assert [item.label for item in take(tmp_path, 3) if isinstance(item, Sample)] == [7, 9, None]


def test_new_files_are_seen_at_the_next_cycle(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=rows(1))
    files = Directory(tmp_path)
    found = [files.take([INPUT])]
    save(tmp_path, "b.npz", x=rows(2))
    assert firsts([*found, *(files.take([INPUT]) for _ in range(3))]) == [1, 1, 2, 1]


def test_a_file_that_vanishes_before_its_turn_is_a_bad_file(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=rows(1))
    save(tmp_path, "b.npz", x=rows(2))
    files = Directory(tmp_path)
    files.take([INPUT])
    (tmp_path / "b.npz").unlink()
    assert isinstance(files.take([INPUT]), Bad)
    assert isinstance(files.take([INPUT]), Sample)


def test_floats_are_quantized_with_halves_away_from_zero_and_saturation() -> None:
    x = np.array([[0.25, -0.25, 0.74, -0.76], [1e6, -1e6, 0.0, 63.9]], np.float32)
    stored = to_stored(x, INPUT)
    assert stored.dtype == np.int8
    assert stored.tolist() == [[0, -2, 0, -3], [127, -128, -1, 127]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantizing_a_dequantized_value_gives_it_back(dtype: DType) -> None:
    spec = TensorSpec(name="x", shape=(1, 256), dtype=dtype, quantization=Quantization(scale=0.0173, zero_point=11))
    stored = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, dtype=np.int64).astype(dtype)
    real = (0.0173 * (stored.astype(np.float64) - 11)).astype(np.float32)
    assert np.array_equal(to_stored(real, spec), stored)


def test_float_x_is_quantized_for_integers_and_kept_for_floats(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=np.full((1, 4), 2.0, np.float64))
    [whole] = take(tmp_path, 1)
    [real] = take(tmp_path, 1, FLOAT_INPUT)
    assert isinstance(whole, Sample)
    assert isinstance(real, Sample)
    assert inputs_of(whole, INPUT) == [[[3, 3, 3, 3]]]
    assert inputs_of(real, FLOAT_INPUT) == [[[2.0, 2.0, 2.0, 2.0]]]


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"z": rows(1)}, "no array x, but z"),
        ({"x": rows(1)[:, :3]}, r"x is \[1, 3\], the model takes \[N, 4\]"),
        ({"x": np.int8(1)}, "x is"),
        ({"x": rows(1).astype(np.uint8)}, "x is uint8, the model takes int8"),
        ({"x": np.array([[1, 2, np.nan, 4]], np.float32)}, "not finite"),
        ({"x": rows(1, 2), "y": np.array([1])}, "not an integer for each of the 2"),
        ({"x": rows(1), "y": np.array([0.5])}, "y is float64"),
        ({"x": np.array([[{"a": 1}] * 4], object)}, "allow_pickle=False"),
    ],
)
def test_a_file_of_the_wrong_content_is_named_once_a_cycle_and_passed_over(
    tmp_path: Path, arrays: dict[str, Any], word: str
) -> None:
    save(tmp_path, "a.npz", x=rows(1))
    save(tmp_path, "bad.npz", **arrays)
    items = take(tmp_path, 5)
    assert [type(item) for item in items] == [Sample, Bad, Sample, Bad, Sample]
    assert isinstance(items[1], Bad)
    assert re.search(word, items[1].reason)


def test_a_pickle_in_a_file_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Trap()))
    assert isinstance(take(tmp_path, 1)[0], Bad)
    assert not (tmp_path / "sprung").exists()


def test_damage_of_any_kind_is_a_bad_file_at_worst(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=rows(*range(40)), y=np.arange(40))
    whole = (tmp_path / "a.npz").read_bytes()
    chance = random.Random(5)
    bad = 0
    for attempt in range(300):
        data = bytearray(whole)
        if attempt % 3 == 0:
            data = data[: chance.randrange(len(data))]
        else:
            for _ in range(1 + attempt % 4):
                data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "a.npz").write_bytes(data)
        bad += isinstance(Directory(tmp_path).take([INPUT]), Bad)
    assert bad > 100


def test_a_file_that_unpacks_beyond_the_limit_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_UNPACKED_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((300, 4), np.int8))
    [item] = take(tmp_path, 1)
    assert isinstance(item, Bad)
    assert "exceed the limit of 1000" in item.reason


def test_a_missing_or_useless_directory_is_idle_until_something_comes(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    files = Directory(directory)
    missing = files.take([INPUT])
    assert isinstance(missing, Idle)
    assert "is not there" in missing.reason
    directory.mkdir()
    (directory / "notes.txt").write_text("not data")
    empty = files.take([INPUT])
    assert isinstance(empty, Idle)
    assert "no usable .npz" in empty.reason
    save(directory, "a.npz", x=rows(5))
    assert isinstance(files.take([INPUT]), Sample)


def test_only_bad_files_make_a_cycle_that_ends_idle(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"")
    save(tmp_path, "b.npz", x=rows())
    assert [type(item) for item in take(tmp_path, 4)] == [Bad, Bad, Idle, Bad]


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    (tmp_path / "b.npz").mkdir()
    save(tmp_path, "c.npz", x=rows(1))
    assert firsts(take(tmp_path, 2)) == [1, 1]


UNIT = Preprocessing(scale=1 / 255, mean=(0.5,))
PICTURE = TensorSpec(
    name="image",
    shape=(1, 2, 2, 3),
    dtype="int8",
    quantization=Quantization(scale=1 / 255, zero_point=-128),
    layout="NHWC",
    preprocessing=Preprocessing(scale=1 / 255),
)
ASIDE = TensorSpec(name="aside:0", shape=(1, 2), dtype="float32")


def only(directory: Path, *specs: TensorSpec) -> Item:
    return Directory(directory).take(specs)


def inputs_of(item: Item, *specs: TensorSpec) -> list[Any]:
    """As the client will store them."""
    assert isinstance(item, Sample), item
    return [fit(tensor, spec).tolist() for tensor, spec in zip(item.inputs, specs, strict=True)]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_raw_values_are_preprocessed_and_quantized(tmp_path: Path, dtype: Any) -> None:
    save(tmp_path, "a.npz", x=np.arange(12).reshape(1, 2, 2, 3).astype(dtype))
    [stored] = inputs_of(only(tmp_path, PICTURE), PICTURE)
    assert np.ravel(stored).tolist() == [*range(-128, -116)]


def test_what_is_stored_already_goes_in_as_it_is_in_spite_of_preprocessing(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=np.arange(12, dtype=np.int8).reshape(1, 2, 2, 3))
    assert np.ravel(inputs_of(only(tmp_path, PICTURE), PICTURE)).tolist() == [*range(12)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_model_of_floats_gets_raw_values_preprocessed(tmp_path: Path, dtype: Any) -> None:
    spec = TensorSpec(name="x", shape=(1, 2), dtype="float32", preprocessing=UNIT)
    save(tmp_path, "a.npz", x=np.array([[0, 255]], dtype))
    assert inputs_of(only(tmp_path, spec), spec) == [[[-0.5, 0.5]]]


def test_channels_are_counted_by_the_layout(tmp_path: Path) -> None:
    how = Preprocessing(mean=(1.0, 2.0, 3.0))
    first = TensorSpec(name="x", shape=(1, 3, 1, 2), dtype="float32", layout="NCHW", preprocessing=how)
    save(tmp_path, "a.npz", x=np.zeros((1, 3, 1, 2), np.uint8))
    assert np.ravel(inputs_of(only(tmp_path, first), first)).tolist() == [-1, -1, -2, -2, -3, -3]


def test_several_inputs_come_from_arrays_of_their_names(tmp_path: Path) -> None:
    save(
        tmp_path, "a.npz", image=np.zeros((2, 2, 2, 3), np.uint8), aside=np.eye(2, dtype=np.float32), y=np.array([4, 5])
    )
    files = Directory(tmp_path)
    items = [files.take([PICTURE, ASIDE]) for _ in range(2)]
    assert [inputs_of(item, PICTURE, ASIDE)[1] for item in items] == [[[1.0, 0.0]], [[0.0, 1.0]]]
    assert [item.label for item in items if isinstance(item, Sample)] == [4, 5]


def test_a_single_input_is_also_found_by_its_name(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", aside=np.ones((1, 2), np.float32))
    assert inputs_of(only(tmp_path, ASIDE), ASIDE) == [[[1.0, 1.0]]]


def test_an_input_called_y_leaves_labels_to_the_classes(tmp_path: Path) -> None:
    specs = [TensorSpec(name=name, shape=(1, 2), dtype="float32") for name in ("x", "y")]
    save(tmp_path, "a.npz", x=np.zeros((1, 2)), y=np.ones((1, 2)), labels=np.array([3]))
    item = only(tmp_path, *specs)
    assert inputs_of(item, *specs) == [[[0.0, 0.0]], [[1.0, 1.0]]]
    assert isinstance(item, Sample)
    assert item.label == 3


def test_an_input_without_a_batch_takes_samples_of_its_whole_shape(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=np.ones((3, 5), np.float32))
    spec = TensorSpec(name="x", shape=(5,), dtype="float32")
    assert inputs_of(only(tmp_path, spec), spec) == [[1.0] * 5]


@pytest.mark.parametrize(
    ("specs", "arrays", "word"),
    [
        (
            [PICTURE],
            {"x": np.zeros((1, 3, 2, 2), np.uint8)},
            r"x is \[1, 3, 2, 2\], the model takes \[N, 2, 2, 3\] \(NHWC",
        ),
        ([PICTURE], {"x": np.full((1, 2, 2, 3), np.inf)}, "x has values that are not finite"),
        ([PICTURE, ASIDE], {"x": np.zeros((1, 2, 2, 3), np.uint8)}, "has no array image, but x"),
        ([PICTURE, ASIDE], {"image": np.zeros((1, 2, 2, 3), np.uint8), "aside": np.zeros((2, 2))}, "different numbers"),
        (
            [TensorSpec(name="x", shape=(1, 2), dtype="float32", preprocessing=Preprocessing(mean=(1.0, 2.0, 3.0)))],
            {"x": np.zeros((1, 2))},
            "mean has 3 numbers for 2 channels",
        ),
    ],
)
def test_what_cannot_be_prepared_is_a_bad_file(
    tmp_path: Path, specs: list[TensorSpec], arrays: dict[str, Any], word: str
) -> None:
    save(tmp_path, "a.npz", **arrays)
    item = only(tmp_path, *specs)
    assert isinstance(item, Bad)
    assert re.search(word, item.reason)


def test_the_place_is_kept_when_a_version_with_another_input_comes(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=rows(1, 2, 3), image=np.arange(36).reshape(3, 2, 2, 3))
    files = Directory(tmp_path)
    assert firsts([files.take([INPUT])]) == [1]
    second, first_again = files.take([PICTURE]), files.take([INPUT])
    assert isinstance(second, Bad), "x is none of its shape"
    assert firsts([first_again]) == [1], "a new cycle: the file was the last one"


def test_the_next_sample_goes_to_the_next_version_prepared_for_it(tmp_path: Path) -> None:
    save(tmp_path, "a.npz", x=np.full((3, 4), 2.0, np.float32), y=np.array([5, 6, 7]))
    files = Directory(tmp_path)
    items = [files.take([spec]) for spec in (INPUT, FLOAT_INPUT, INPUT)]
    assert [item.label for item in items if isinstance(item, Sample)] == [5, 6, 7]
    assert [item.origin for item in items if isinstance(item, Sample)] == [
        {"file": "a.npz", "index": index} for index in range(3)
    ]
