"""ONNX models become float TFLite files that compute the same, or are refused by name."""

from pathlib import Path

import onnx
import pytest

from tests.support import onnx_models as models
from tests.support.source_process import Job, run
from wherry.converters import errors
from wherry.converters.model import SourceOptions
from wherry.converters.sources import onnx as source

pytestmark = pytest.mark.slow

GOOD = [models.picture, models.tabular, models.audio, models.gelu, models.recurrent, models.half]
NO_OPTIONS = SourceOptions()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """All conversions in one process, then all comparisons in another."""
    folder = tmp_path_factory.mktemp("onnx")
    made = {make.__name__: Job("onnx", models.save(make, folder), folder / make.__name__) for make in GOOD}
    made["kept"] = Job("onnx", folder / "picture.onnx", folder / "kept", SourceOptions(layout="keep"))
    shapes = SourceOptions(input_shapes={"pixels": (1, 3, 9, 7)})
    made["sized"] = Job("onnx", models.save(models.open_size, folder), folder / "sized", shapes)
    made["untranslatable"] = Job("onnx", models.save(models.untranslatable, folder), folder / "untranslatable")
    run(list(made.values()), "build", "compare")
    return made


@pytest.mark.parametrize("name", [*(make.__name__ for make in GOOD), "kept", "sized"])
def test_float_model_computes_what_onnxruntime_computes(jobs: dict[str, Job], name: str) -> None:
    assert min(jobs[name].db) > 60


def test_pictures_become_channels_last_and_the_axes_say_so(jobs: dict[str, Job]) -> None:
    pixels, ends = jobs["picture"].model.inputs[0], {end.name: end for end in jobs["picture"].model.outputs}
    assert (pixels.name, pixels.shape, pixels.axes, pixels.batched) == ("pixels", (1, 3, 12, 10), (0, 2, 3, 1), True)
    assert ends["features"].shape == (1, 5, 12, 10)
    assert ends["features"].axes == (0, 2, 3, 1)
    assert ends["scores"].axes == ()


def test_keep_leaves_inputs_as_they_are(jobs: dict[str, Job]) -> None:
    assert jobs["kept"].model.inputs[0].axes == ()


def test_names_types_and_batches_are_those_of_the_source(jobs: dict[str, Job]) -> None:
    inputs = {end.name: (end.dtype, end.shape, end.batched) for end in jobs["tabular"].model.inputs}
    assert inputs == {
        "/x:0": ("float32", (1, 6), True),
        "kind": ("int64", (1,), True),
        "flag?": ("bool", (1, 1), True),
    }
    assert {end.name: end.dtype for end in jobs["tabular"].model.outputs} == {"odds/0": "float32", "best": "int64"}
    assert {end.name: end.batched for end in jobs["audio"].model.inputs} == {"wave": True, "state": False}
    assert jobs["half"].model.inputs[0].dtype == "float16"
    assert jobs["sized"].model.inputs[0].shape == (1, 3, 9, 7)


def test_tensors_lead_back_to_the_nodes_of_the_source(jobs: dict[str, Job]) -> None:
    assert {"stem", "head"} <= set(jobs["picture"].model.layers.values())
    assert "act" in jobs["gelu"].model.layers.values()


def test_an_operator_without_translation_is_refused_by_its_node(jobs: dict[str, Job]) -> None:
    kind, message, fix = jobs["untranslatable"].error
    assert kind == "UnsupportedOperators"
    assert "untranslatable.onnx" in message
    assert "odd_pool (LpPool)" in message
    assert fix


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (models.foreign, errors.UnsupportedOperators, ("warp_3", "acme.vision.Warp")),
        (models.too_new, errors.UnsupportedModel, ("opset 99",)),
        (models.not_a_number, errors.UnsupportedModel, ("dense.weight", "NaN")),
        (models.open_size, errors.UnsupportedModel, ("pixels", "[?, 3, ?, ?]")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_work_is_refused_before_anything_heavy(
    tmp_path: Path, make: object, error: type[errors.ConversionError], words: tuple[str, ...]
) -> None:
    path = models.save(make, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(error) as refusal:
        source.inspect(path, NO_OPTIONS)
    assert all(word in refusal.value.message for word in (*words, path.name))
    assert refusal.value.fix


def test_open_sizes_ask_for_the_option(tmp_path: Path) -> None:
    with pytest.raises(errors.UnsupportedModel) as refusal:
        source.inspect(models.save(models.open_size, tmp_path), NO_OPTIONS)
    assert "--input-shape" in refusal.value.fix


@pytest.mark.parametrize(
    "shapes", [{"nobody": (1, 3, 8, 8)}, {"pixels": (1, 4, 8, 8)}, {"pixels": (1, 3, 8)}, {"pixels": (2, 3, 8, 8)}]
)
def test_shapes_that_do_not_fit_are_refused(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(errors.BadRequest):
        source.inspect(models.save(models.open_size, tmp_path), SourceOptions(input_shapes=shapes))


@pytest.mark.parametrize("content", [b"", b"no model at all", None, "half"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes | str | None) -> None:
    whole = models.picture().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2 if content else 40])
    with pytest.raises(errors.UnreadableModel):
        source.inspect(path, NO_OPTIONS)


def test_weights_beside_the_file_are_found_or_missed_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(models.picture(), str(path), save_as_external_data=True, location="m.weights", size_threshold=0)
    source.inspect(path, NO_OPTIONS)
    (tmp_path / "m.weights").unlink()
    with pytest.raises(errors.SourceMissing, match=r"m\.weights"):
        source.inspect(path, NO_OPTIONS)


def test_inspecting_imports_nothing_heavy(tmp_path: Path) -> None:
    job = Job("onnx", models.save(models.picture, tmp_path), tmp_path / "s")
    run([job], "inspect")
    assert job.result["heavy"] == []
