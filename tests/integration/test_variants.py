"""Every variant of several networks, made from the float file alone, is right in both runtimes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.compressed import FAMILIES, answer, compress
from tests.support.networks import MODELS, NETWORKS
from wherry.converters import flatbuffer
from wherry.converters.compress import graph
from wherry.converters.verify import operators, versions

pytestmark = pytest.mark.slow
pytest.importorskip("tflite_runtime", reason="one of the two runtimes that every variant is run in")

PLAIN = ("vision", "tokens", "odd", "recurrent")
LOWEST_DB = {
    "int8": 24,
    "int8-float-io": 24,
    "float16": 60,
    "dynamic": 30,
    "weight-only-int8": 34,
    "int16x8": 25,  # tokens: evaluation goes beyond the calibrated range
    "mixed": 24,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", LOWEST_DB)
@pytest.mark.parametrize("network", PLAIN)
def test_every_variant_answers_like_the_float_file(
    answers: Callable[[str], Path], network: str, variant: str, family: str
) -> None:
    directory = answers(network)
    with np.load(directory / f"{network}-float.litert.npz") as expected:
        reference = {name: expected[name] for name in expected}
    with np.load(directory / f"{network}-{variant}.{family}.npz") as found:
        assert "error" not in found, str(found["error"])
        for name, values in reference.items():
            noise = ((found[name] - values) ** 2).sum()
            assert 10 * np.log10((values**2).sum() / noise) > LOWEST_DB[variant], name


@pytest.mark.parametrize("variant", LOWEST_DB)
@pytest.mark.parametrize("network", PLAIN)
def test_names_order_and_integer_inputs_stay(compressed: Path, network: str, variant: str) -> None:
    before = operators.tensor_specs(operators.parse((compressed / f"{network}.tflite").read_bytes()))
    after = operators.tensor_specs(operators.parse((compressed / f"{network}-{variant}.tflite").read_bytes()))
    ends = "int8" if variant == "int8" else "float32"
    for ours, theirs in zip([*before[0], *before[1]], [*after[0], *after[1]], strict=True):
        assert (ours.name, ours.shape) == (theirs.name, theirs.shape)
        assert theirs.dtype == ("int32" if ours.dtype == "int32" else ends)


@pytest.mark.parametrize("variant", LOWEST_DB)
@pytest.mark.parametrize("network", PLAIN)
def test_operator_versions_are_those_of_the_tensors(compressed: Path, network: str, variant: str) -> None:
    content = (compressed / f"{network}-{variant}.tflite").read_bytes()
    if variant in ("dynamic", "float16", "weight-only-int8", "int16x8"):
        assert versions.raise_versions(content) == content
    model = graph.parse(content)
    used = {op.opcodeIndex for subgraph in model.subgraphs for op in subgraph.operators}
    assert used == set(range(len(model.operatorCodes))), "an unused code alone makes a runtime refuse the file"


def test_two_processes_make_the_same_bytes(compressed: Path, tmp_path: Path) -> None:
    for name in ("tokens", "recurrent"):
        for suffix in ("tflite", "npz"):
            shutil.copy(compressed / f"{name}.{suffix}", tmp_path)
    compress(tmp_path, "tokens", "recurrent")
    for made in tmp_path.glob("*-*.tflite"):
        assert made.read_bytes() == (compressed / made.name).read_bytes(), made.name


@pytest.mark.parametrize("network", PLAIN)
def test_compressed_files_are_smaller(compressed: Path, network: str) -> None:
    float_bytes = (compressed / f"{network}.tflite").stat().st_size
    for variant in ("float16", "dynamic", "weight-only-int8"):
        assert (compressed / f"{network}-{variant}.tflite").stat().st_size < 0.82 * float_bytes, variant


@pytest.mark.parametrize("network", PLAIN)
def test_constants_lie_where_kernels_may_read_them_in_place(compressed: Path, network: str) -> None:
    content = (compressed / f"{network}-dynamic.tflite").read_bytes()
    start = np.frombuffer(content, np.uint8).ctypes.data
    for buffer in graph.parse(content).buffers:
        if buffer.data is not None and len(buffer.data):
            assert (buffer.data.ctypes.data - start) % flatbuffer.ALIGNMENT == 0


def test_a_dynamic_dense_layer_has_one_scale_since_old_runtimes_know_no_other(compressed: Path) -> None:
    model = graph.parse((compressed / "vision-dynamic.tflite").read_bytes())
    subgraph = model.subgraphs[0]
    found = {
        name: len(subgraph.tensors[op.inputs[1]].quantization.scale)
        for name, op in graph.operators(model, subgraph)
        if name in graph.WEIGHTED
    }
    assert found == {"CONV_2D": 16, "DEPTHWISE_CONV_2D": 8, "FULLY_CONNECTED": 1}


def test_resnet8_keeps_its_accuracy_in_both_runtimes(tmp_path: Path) -> None:
    if not MODELS.exists():
        pytest.skip("../shared/models is not here")
    answer(compress(tmp_path, "resnet8"), "resnet8", "out")
    with np.load(MODELS / "cifar10_test_1000.npz") as arrays:
        labels = arrays["y"].ravel()[:500]
    for family in FAMILIES:
        right = {}
        for variant in ("float", *LOWEST_DB):
            with np.load(tmp_path / f"resnet8-{variant}.{family}.npz") as found:
                right[variant] = float((found["out_0"].argmax(axis=1) == labels).mean())
        assert right["float"] > 0.7
        assert min(right.values()) > right["float"] - 0.015, right
    assert (tmp_path / "resnet8-int8.tflite").stat().st_size < 98_500


def test_all_networks_are_made(compressed: Path) -> None:
    assert {path.stem for path in compressed.glob("*.npz") if "." not in path.stem} == set(NETWORKS)
