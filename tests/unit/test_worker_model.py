"""What a loaded file must be to be the model that the manifest describes."""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.support.fake_interpreter import INPUT, OUTPUT, FakeInterpreter
from wherry.agent.worker.errors import OrderRefused
from wherry.agent.worker.messages import Load, SelfTest, SelfTested
from wherry.agent.worker.model import Model, load_model
from wherry.agent.worker.runtimes.interpreter import Interpreter, Tensor
from wherry.agent.worker.selftest import ENOUGH_RUNS, self_test
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import Preprocessing, Quantization, TensorSpec, Tolerance
from wherry.protocol.runtime import Family


def load(path: Path, inputs: tuple[TensorSpec, ...], interpreter: Interpreter) -> Model:
    path.write_bytes(b"a model")

    def build(family: Family, found: Path, threads: int) -> Interpreter:
        assert (family, found.read_bytes(), threads) == ("litert", b"a model", 1)
        return interpreter

    order = Load(family="litert", inputs=inputs, outputs=(OUTPUT,), warm_up=4)
    with path.open("rb") as file:
        return load_model(order, file.fileno(), build)


def test_a_model_as_described_is_warmed_up(tmp_path: Path) -> None:
    interpreter = FakeInterpreter()
    model = load(tmp_path / "m", (INPUT,), interpreter)
    assert interpreter.ran == 4
    assert (model.version, model.inputs, model.outputs) == ("1.2.3", (INPUT,), (OUTPUT,))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"shape": (1, 5)}, r"input 0 is int8 \[1, 4\] .* and int8 \[1, 5\]"),
        ({"dtype": "uint8"}, "and uint8"),
        ({"quantization": None}, r"and int8 \[1, 4\] in the manifest"),
        ({"quantization": Quantization(scale=0.51, zero_point=-1)}, "scale 0.51"),
        ({"quantization": Quantization(scale=0.5, zero_point=0)}, "zero point 0"),
    ],
)
def test_a_file_that_differs_from_the_manifest_is_refused(tmp_path: Path, change: dict[str, object], word: str) -> None:
    with pytest.raises(OrderRefused, match=word):
        load(tmp_path / "m", (msgspec.structs.replace(INPUT, **change),), FakeInterpreter())


def test_names_and_the_last_digits_of_a_scale_do_not_matter(tmp_path: Path) -> None:
    near = Quantization(scale=0.5 * (1 + 1e-8), zero_point=-1)
    load(tmp_path / "m", (msgspec.structs.replace(INPUT, name="other", quantization=near),), FakeInterpreter())


def test_what_only_the_manifest_knows_of_an_input_is_kept_for_the_feed(tmp_path: Path) -> None:
    said = msgspec.structs.replace(INPUT, name="aside", layout="NHWC", preprocessing=Preprocessing(scale=0.5))
    assert load(tmp_path / "m", (said,), FakeInterpreter()).inputs == (said,)


def test_another_number_of_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrderRefused, match="the file has 1 inputs, the manifest 2"):
        load(tmp_path / "m", (INPUT, INPUT), FakeInterpreter())


def test_whatever_a_runtime_raises_is_a_refusal_with_its_words(tmp_path: Path) -> None:
    def fail(x: Tensor) -> Tensor:
        raise SystemError("broken arena")

    with pytest.raises(OrderRefused, match="litert cannot run the model: SystemError: broken arena"):
        load(tmp_path / "m", (INPUT,), FakeInterpreter(fail))


def golden_order(path: Path, *, family: Family = "litert") -> SelfTest:
    vectors = tuple(
        GoldenVector(inputs=(row.tobytes(),), outputs={"litert": (row.tobytes(),)})
        for row in np.arange(12, dtype=np.int8).reshape(3, 1, 4)
    )
    path.write_bytes(encode_golden(GoldenSet(vectors=vectors)))
    limits = Tolerance(family=family, max_abs=0, min_cosine=1, min_top1_share=1)
    return SelfTest(tolerance=limits)


def outcome(order: SelfTest, model: Model, path: Path) -> SelfTested:
    with path.open("rb") as file:
        return self_test(order, model, file.fileno())


def test_the_self_test_runs_every_vector_and_measures_enough_runs(tmp_path: Path) -> None:
    interpreter = FakeInterpreter()
    result = outcome(golden_order(tmp_path / "g"), Model("litert", interpreter), tmp_path / "g")
    assert result.ok
    assert interpreter.ran == ENOUGH_RUNS
    assert re.fullmatch(r"3 golden vectors on litert within .*; p50 \S+ ms, p95 \S+ ms", result.reason)


def test_the_self_test_fails_a_model_that_is_off_by_one_step(tmp_path: Path) -> None:
    model = Model("litert", FakeInterpreter(lambda x: np.add(x, 1, dtype=np.int8)))
    result = outcome(golden_order(tmp_path / "g"), model, tmp_path / "g")
    assert not result.ok
    assert "off by 1, allowed 0" in result.reason


def test_the_self_test_refuses_damaged_and_foreign_vectors(tmp_path: Path) -> None:
    model = Model("litert", FakeInterpreter())
    order = golden_order(tmp_path / "g")
    (tmp_path / "g").write_bytes(b"\xc1 not msgpack")
    with pytest.raises(OrderRefused, match="cannot read the golden vectors"):
        outcome(order, model, tmp_path / "g")
    with pytest.raises(OrderRefused, match="the tolerance is for tflite-runtime"):
        outcome(golden_order(tmp_path / "g", family="tflite-runtime"), model, tmp_path / "g")
