"""Static checks against real files of TensorFlow's converter and ai-edge-quantizer, and what runtimes make of them."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.support import tflite_process
from tests.support.real_tflite import KINDS
from tests.support.synthetic_tflite import Op, Tensor, model, pack
from wherry.converters.flatbuffer import type_names
from wherry.converters.verify import compare, costs, floors, layers, operators, version_rules, versions
from wherry.converters.verify.signature import Signature
from wherry.protocol.runtime import version_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
pytest.importorskip("tflite_runtime", reason="the old runtime that is deceived is tflite-runtime 2.14")
pytest.importorskip("ai_edge_quantizer", reason="it writes the files that deceive")

SHARED = Path(__file__).parents[3] / "shared" / "models"
RESNET8 = SHARED / "resnet8_float_reference.tflite"

# TensorFlow's quantizer for 16x8 writes the versions of int8 kernels, which TensorFlow's own table contradicts.
SIXTEEN = {
    "ADD": (2, 3),
    "AVERAGE_POOL_2D": (2, 3),
    "CONCATENATION": (2, 3),
    "DEPTHWISE_CONV_2D": (3, 5),
    "DEQUANTIZE": (2, 3),
    "FULLY_CONNECTED": (4, 7),
    "LOGISTIC": (2, 3),
    "MAX_POOL_2D": (2, 3),
    "MEAN": (2, 3),
    "MUL": (2, 4),
    "PAD": (2, 3),
    "QUANTIZE": (1, 2),
    "RESIZE_BILINEAR": (3, 4),
    "SOFTMAX": (2, 3),
    "TANH": (2, 3),
    "TRANSPOSE_CONV": (3, 2),  # without a bias, which 3 is for
}
"""By operator, (version in TensorFlow's 16x8 file, version derived), where they differ."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    given = [str(RESNET8)] if RESNET8.exists() else []
    command = [sys.executable, "-m", "tests.support.spare", "tests.support.real_tflite", str(directory), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return directory


@pytest.fixture
def table_inputs(files: Path) -> list[npt.NDArray[np.float32]]:
    """In the order of the file, which is not that of the Keras model."""
    rng = np.random.default_rng(11)
    inputs, _ = operators.tensor_specs(operators.parse((files / "table.float.tflite").read_bytes()))
    return [rng.normal(size=(20, *spec.shape[1:])).astype(np.float32) for spec in inputs]


def differing(file: Path) -> dict[str, tuple[int, int]]:
    """Where file and derivation disagree; operators that share a code are judged by the largest version of theirs."""
    model = operators.parse(file.read_bytes())
    used = [(op.opcodeIndex, graph) for graph in model.subgraphs for op in graph.operators]
    largest: dict[int, Any] = {}
    for (code, _), found in zip(used, versions.derive(model), strict=True):
        assert found.known, found
        if code not in largest or found.version > largest[code].version:
            largest[code] = found
    return {found.name: (found.stored, found.version) for found in largest.values() if found.stored != found.version}


def floor(file: Path) -> str:
    """The lowest tflite-runtime by the manifest's operators."""
    found, _ = floors.floor("tflite-runtime", operators.operators(operators.parse(file.read_bytes())), "2.20.0")
    return found.lowest


def snr_db(reference: tflite_process.Ran, found: tflite_process.Ran) -> float:
    assert not reference.error
    assert not found.error
    a, b = (np.concatenate([y.reshape(len(y), -1) for y in ran.outputs], axis=1) for ran in (reference, found))
    return compare.snr_db(a.astype(np.float32), b.astype(np.float32))


def test_derived_versions_are_those_that_tensorflow_writes(files: Path) -> None:
    made = {f"{net}.{kind}": files / f"{net}.{kind}.tflite" for net in ("picture", "table") for kind in KINDS}
    assert [name for name, file in made.items() if not file.exists()] == ["table.int16x8"], "TensorFlow cannot make it"
    found = {name: differing(file) for name, file in made.items() if file.exists()}
    assert {name: versions for name, versions in found.items() if versions} == {"picture.int16x8": SIXTEEN}
    dense = {(op.name, op.version) for op in operators.operators(operators.parse(made["table.dynamic"].read_bytes()))}
    assert ("FULLY_CONNECTED", 12) in dense, "the case is among those compared"


def registered(package: str) -> dict[str, int]:
    """The highest version that a runtime has of each operator with a rule, found by asking for all."""
    runtime = import_module(f"{package}.interpreter")

    def has(name: str, version: int) -> bool:
        try:
            runtime.Interpreter(model_content=pack(model(Op(name, (Tensor(),), version=version))))
        except ValueError as error:
            return "Didn't find op" not in str(error)
        return True

    return {name: max((n for n in range(1, 20) if has(name, n)), default=0) for name in sorted(version_rules.RULES)}


def test_the_floors_agree_with_what_tflite_runtime_2_14_has() -> None:
    found = registered("tflite_runtime")
    table = floors.LOWEST_TENSORFLOW.items()
    stated = {name: sum(version_key(low) <= version_key("2.14") for low in lowest) for name, lowest in table}
    assert stated == {name: found[name] for name in stated}


def test_no_rule_asks_for_what_no_runtime_has() -> None:
    found, chance = registered("ai_edge_litert"), np.random.default_rng(13)
    assert min(found.values()) > 0
    signatures = [any_signature(chance) for _ in range(2000)]
    asked = {name: max(rule(signature) for signature in signatures) for name, rule in version_rules.RULES.items()}
    assert {name: version for name, version in asked.items() if version > found[name]} == {}


def any_signature(chance: np.random.Generator) -> Signature:
    """Tensors of any type, rank and scales, and any options."""
    kinds = ("FLOAT32", "INT8", "INT16", *type_names().values())
    tensors = []
    for _ in range(5):
        shape = tuple(int(n) for n in chance.integers(1, 5, chance.integers(0, 8)))
        tensors.append(
            Tensor(str(chance.choice(kinds)), shape, (0.1,) * int(chance.integers(0, 5)), name=f"{len(tensors)}")
        )
    made = model(Op("ADD", tuple(tensors[: chance.integers(0, 5)]), tuple(tensors[4:])))
    made.subgraphs[0].operators[0].builtinOptions = any_options(chance)
    return Signature(made.subgraphs[0], made.subgraphs[0].operators[0])


def any_options(chance: np.random.Generator) -> Any:
    """An object that has every option at a chance value."""
    return type("Options", (), {"__getattr__": lambda self, name: int(chance.integers(0, 2))})()


@pytest.mark.skipif(not SHARED.exists(), reason="the shared models are not there")
def test_derived_versions_are_those_of_published_files() -> None:
    for file in SHARED.glob("*.tflite"):
        assert differing(file) == {}, file.name


def test_a_quantizers_file_deceives_an_old_runtime_and_the_raised_one_is_refused(
    files: Path, table_inputs: list[npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    stored = files / "table.dynamic_wi8_afp32.tflite"
    assert differing(stored) == {"FULLY_CONNECTED": (5, 12)}
    assert floor(stored) == "2.17.0"
    raised = tmp_path / "raised.tflite"
    raised.write_bytes(versions.raise_versions(stored.read_bytes()))

    reference = tflite_process.run("ai_edge_litert", files / "table.float.tflite", table_inputs, tmp_path)
    new, old = (
        tflite_process.run(name, stored, table_inputs, tmp_path) for name in ("ai_edge_litert", "tflite_runtime")
    )
    assert snr_db(reference, new) > 25
    assert snr_db(reference, old) < 5, "it computes wrongly, without a word"
    assert snr_db(new, tflite_process.run("ai_edge_litert", raised, table_inputs, tmp_path)) == compare.MAX_SNR_DB
    refused = tflite_process.run("tflite_runtime", raised, table_inputs, tmp_path)
    assert refused.status == tflite_process.REFUSED, refused
    assert "FULLY_CONNECTED" in refused.error
    assert "12" in refused.error


def test_int4_weights_are_refused_by_an_old_runtime_once_raised(
    files: Path, table_inputs: list[npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    raised = tmp_path / "raised.tflite"
    raised.write_bytes(versions.raise_versions((files / "table.dynamic_wi4_afp32.tflite").read_bytes()))
    assert tflite_process.run("tflite_runtime", raised, table_inputs, tmp_path).status == tflite_process.REFUSED
    assert not tflite_process.run("ai_edge_litert", raised, table_inputs, tmp_path).error


@pytest.mark.parametrize("name", ["picture.int16x8", "picture.weight_only_wi8_afp32", "table.weight_only_wi8_afp32"])
def test_raised_files_that_an_old_runtime_computes_rightly_still_run_there(
    files: Path, name: str, table_inputs: list[npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    stored = files / f"{name}.tflite"
    raised = tmp_path / "raised.tflite"
    raised.write_bytes(versions.raise_versions(stored.read_bytes()))
    assert raised.read_bytes() != stored.read_bytes()
    inputs = table_inputs if name.startswith("table") else [pictures(8)]
    reference = tflite_process.run("ai_edge_litert", files / f"{name.split('.')[0]}.float.tflite", inputs, tmp_path)
    for package in ("ai_edge_litert", "tflite_runtime"):
        assert snr_db(reference, tflite_process.run(package, raised, inputs, tmp_path)) > 25


@pytest.mark.skipif(not RESNET8.exists(), reason="the shared models are not there")
def test_resnet8_loses_its_accuracy_on_an_old_runtime_unless_raised(files: Path, tmp_path: Path) -> None:
    with np.load(SHARED / "cifar10_test_1000.npz") as arrays:
        x, y = arrays["x"][::5].astype(np.float32), arrays["y"][::5]
    stored = files / "given.dynamic_wi8_afp32.tflite"
    found = {p: tflite_process.run(p, stored, [x], tmp_path) for p in ("ai_edge_litert", "tflite_runtime")}
    right = {package: float(np.mean(ran.outputs[0].argmax(1) == y)) for package, ran in found.items()}
    assert right["ai_edge_litert"] > 0.7
    assert right["tflite_runtime"] < 0.2
    assert floor(stored) == "2.17.0"
    raised = tmp_path / "raised.tflite"
    raised.write_bytes(versions.raise_versions(stored.read_bytes()))
    assert tflite_process.run("tflite_runtime", raised, [x], tmp_path).status == tflite_process.REFUSED


def test_layer_errors_follow_the_graph_and_show_a_wrong_calibration(files: Path) -> None:
    reference, int8 = ((files / f"picture.{kind}.tflite").read_bytes() for kind in ("float", "int8"))
    named = {
        text.name.decode(): "the sum" for text in operators.parse(reference).subgraphs[0].tensors if b"sum" in text.name
    }
    found = layers.measure(reference, int8, [[x[None]] for x in pictures(8)], named)
    assert [error.operator for error in found] == [op.name for op in costs.costs(operators.parse(int8)).operators]
    assert [error.index for error in found] == sorted(error.index for error in found)
    assert all(20 < error.snr_db < 80 for error in found)
    assert all(error.saturated < 0.1 for error in found)
    assert [error.operator for error in found if error.layer == "the sum"] == ["ADD"]
    loud = layers.measure(reference, int8, [[10 * x[None]] for x in pictures(8)], named)
    assert loud[0].saturated > 0.05 > 10 * found[0].saturated, "values ten times those of calibration do not fit"
    assert loud[0].float_high > loud[0].high


def test_layer_errors_of_a_float_file_with_itself_are_none(
    files: Path, table_inputs: list[npt.NDArray[np.float32]]
) -> None:
    content = (files / "table.float.tflite").read_bytes()
    found = layers.measure(content, content, [[a[None], b[None]] for a, b in zip(*table_inputs, strict=True)], {})
    assert len(found) > 50
    assert {(error.snr_db, error.rmse, error.saturated) for error in found} == {(compare.MAX_SNR_DB, 0.0, 0.0)}


@pytest.mark.parametrize(("package", "kind", "most"), [
    ("ai_edge_litert", "float", True), ("ai_edge_litert", "int8", True),
    ("tflite_runtime", "float", True), ("tflite_runtime", "int8", False),
])  # fmt: skip
def test_the_delegate_takes_int8_on_litert_and_not_on_tflite_runtime(
    files: Path, tmp_path: Path, package: str, kind: str, *, most: bool
) -> None:
    file = files / f"picture.{kind}.tflite"
    count = len(operators.parse(file.read_bytes()).subgraphs[0].operators)
    taken, total = tflite_process.run(package, file, [pictures(1)], tmp_path).delegated
    assert total == count
    assert taken > 0.7 * count if most else taken < 0.3 * count
    plain = tflite_process.run(package, file, [pictures(1)], tmp_path, plain=True)
    assert plain.delegated == (0, count)
    assert plain.arena_bytes >= 0.9 * costs.arena_planned(operators.parse(file.read_bytes()))


def test_costs_of_a_net_are_the_same_in_every_variant(files: Path) -> None:
    found = {kind: costs.costs(operators.parse((files / f"picture.{kind}.tflite").read_bytes())) for kind in KINDS}
    assert len({cost.macs for cost in found.values()}) == 1
    assert found["float16"].parameters == found["float"].parameters
    assert found["float16"].weight_bytes * 2 == found["float"].weight_bytes
    assert found["int8"].weight_bytes < 0.3 * found["float"].weight_bytes


def pictures(count: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(count, 16, 16, 3)).astype(np.float32)
