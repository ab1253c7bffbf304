"""Worker processes with both real runtimes: load, test, serve, stop."""

import re
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import psutil
import pytest

from tests.support.live_worker import FAMILIES, Handed, LiveWorker, TinyCase
from wherry.agent.adapters import probe_model
from wherry.agent.adapters.probe import probe_families, probe_runtimes
from wherry.agent.worker import runtimes
from wherry.agent.worker.messages import (
    Load,
    Loaded,
    Refused,
    SelfTest,
    SelfTested,
    Serve,
    Serving,
    Stop,
    Stopped,
    Window,
)
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import Quantization, TensorSpec, Tolerance
from wherry.protocol.runtime import Family, version_key

pytestmark = pytest.mark.slow
both = pytest.mark.parametrize("family", FAMILIES)

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
real_models = pytest.mark.skipif(not MODELS.is_dir(), reason="real models are not beside this tree")


@pytest.fixture
def tiny(tmp_path: Path) -> TinyCase:
    return TinyCase(tmp_path)


def collect(worker: LiveWorker) -> tuple[list[Window], int]:
    """All windows until the end, which is asked for; the count of inferences too."""
    windows: list[Window] = []
    worker.send(Stop())
    while isinstance(answer := worker.said(Window, Stopped), Window):
        windows.append(answer)
    return windows, sum(window.inferences for window in windows)


@both
def test_a_model_is_loaded_tested_served_and_stopped(tiny: TinyCase, family: Family) -> None:
    with LiveWorker() as worker:
        worker.send(tiny.load(family))
        loaded = worker.said(Loaded)
        assert version_key(loaded.runtime_version) > (2,)
        worker.send(tiny.self_test(family))
        tested = worker.said(SelfTested)
        assert tested.ok, tested.reason
        assert tested.reason.startswith(f"8 golden vectors on {family} within tolerance: worst difference 0, ")
        assert re.search(r"; p50 \S+ ms, p95 \S+ ms$", tested.reason)
        worker.send(Serve())
        worker.said(Serving)
        worker.send(Stop())
        assert worker.said(Window).errors == 0
        worker.said(Stopped)
        end = worker.ended()
        assert (end.exit_code, end.detail) == (0, "exited with status 0")


@both
def test_tampered_golden_outputs_fail_the_self_test(tiny: TinyCase, family: Family) -> None:
    with LiveWorker() as worker:
        worker.send(tiny.load(family))
        worker.said(Loaded)
        worker.send(tiny.self_test(family, tamper_steps=30))
        tested = worker.said(SelfTested)
        assert not tested.ok
        assert "off by 30, allowed 1" in tested.reason


@both
def test_wrong_tensor_specs_are_refused_with_what_differs(tiny: TinyCase, family: Family) -> None:
    wrong = msgspec.structs.replace(tiny.dense.input_spec, quantization=Quantization(scale=1 / 32, zero_point=4))
    with LiveWorker() as worker:
        order, path = tiny.load(family)
        worker.send(Handed(msgspec.structs.replace(order, inputs=(wrong,)), path))
        assert "zero point -3) in the file and int8 [1, 16]" in worker.said(Refused).reason
        assert worker.ended().exit_code == 1


@both
def test_the_tiny_models_arithmetic_is_numpys(tiny: TinyCase, family: Family) -> None:
    assert np.abs(tiny.outputs(family) - tiny.dense.expected_steps(tiny.x)).max() <= 1.0


@both
def test_the_counted_accuracy_is_the_one_computed_directly(tiny: TinyCase, family: Family) -> None:
    tops = np.argmax(tiny.outputs(family), axis=1)
    labels = tops.copy()
    labels[::3] = (labels[::3] + 1) % 4
    with LiveWorker() as worker:
        worker.send(tiny.load(family))
        worker.said(Loaded)
        with worker.asked(tiny.directory, window_s=0.1) as client:
            tiny.ask(client, 150, labels)
        windows, count = collect(worker)
    cycle = np.arange(count) % len(labels)
    assert count == 150
    assert sum(window.errors for window in windows) == 0
    assert sum(window.labelled for window in windows) == count
    assert sum(window.correct for window in windows) == int((tops == labels)[cycle].sum())
    predictions: Counter[int] = Counter()
    for window in windows:
        predictions.update(window.predictions)
        assert window.latency.count == window.inferences
    assert predictions == Counter(tops[cycle].tolist())


def test_orders_are_taken_while_serving(tiny: TinyCase) -> None:
    with LiveWorker() as worker:
        worker.send(tiny.load("litert"))
        worker.said(Loaded)
        worker.send(Serve(window_s=60.0))
        worker.said(Serving)
        worker.send(tiny.self_test("litert"))
        assert worker.said(SelfTested).ok
        worker.send(tiny.load("litert"))
        assert "one model in its life" in worker.said(Refused).reason
        assert worker.ended().exit_code == 1


def test_serving_without_a_model_is_refused() -> None:
    with LiveWorker() as worker:
        worker.send(Serve())
        assert "no model is loaded" in worker.said(Refused).reason
        assert worker.ended().exit_code == 1


def test_stop_before_anything_else_ends_the_worker() -> None:
    with LiveWorker() as worker:
        worker.send(Stop())
        worker.said(Stopped)
        assert worker.ended().exit_code == 0


def test_closing_the_channel_ends_the_worker_politely() -> None:
    with LiveWorker() as worker:
        worker.process.close()
        assert worker.ended().exit_code == 0
        assert not psutil.pid_exists(worker.process.pid)


def test_every_worker_has_its_own_id() -> None:
    with LiveWorker() as first, LiveWorker() as second:
        assert first.process.worker_id != second.process.worker_id


def test_both_runtimes_are_found_by_building_them_litert_first() -> None:
    assert [runtime.family for runtime in probe_runtimes("auto")] == ["litert", "tflite-runtime"]
    assert [runtime.family for runtime in probe_runtimes("tflite-runtime")] == ["tflite-runtime"]


def test_a_runtime_that_cannot_run_a_model_is_not_there_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_model, "FILE", probe_model.FILE[: len(probe_model.FILE) // 2])
    for probe in probe_families("auto"):
        assert probe.runtime is None
        assert "cannot run the model" in probe.reason or "killed by signal" in probe.reason


def test_a_broken_runtime_package_is_not_there_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "tflite_runtime"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    (broken / "interpreter.py").write_text("raise ImportError('numpy.core.multiarray failed to import')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    litert, tflite_runtime = probe_families("auto")
    assert litert.runtime is not None
    assert tflite_runtime.runtime is None
    assert "numpy.core.multiarray failed to import" in tflite_runtime.reason


RESNET_INPUT = TensorSpec(
    name="x", shape=(1, 32, 32, 3), dtype="int8", quantization=Quantization(scale=1.0, zero_point=-128)
)
RESNET_OUTPUT = TensorSpec(
    name="y", shape=(1, 10), dtype="int8", quantization=Quantization(scale=1 / 256, zero_point=-128)
)


@real_models
@both
def test_a_real_network_scores_the_same_through_the_process(tmp_path: Path, family: Family) -> None:
    path = MODELS / "resnet8_int8_reference.tflite"
    with np.load(MODELS / "cifar10_test_1000.npz") as data:
        x, y = data["x"][:200].astype(np.float32), data["y"][:200].astype(np.int64).reshape(-1)
    stored = (x.astype(np.int16) - 128).astype(np.int8)
    outputs = outputs_of(family, path, stored)
    order = Handed(Load(family=family, inputs=(RESNET_INPUT,), outputs=(RESNET_OUTPUT,)), path)
    with LiveWorker() as worker:
        worker.send(order)
        worker.said(Loaded)
        worker.send(resnet_self_test(tmp_path / "golden", family, stored[:8], outputs[:8]))
        assert worker.said(SelfTested).ok
        with worker.asked(tmp_path, window_s=0.2) as client:
            for picture, label in zip(x, y.tolist(), strict=True):
                client.infer(picture, label=label)
        windows, count = collect(worker)
    assert count == len(y)
    right = (np.argmax(outputs, axis=1) == y)[np.arange(count) % len(y)]
    assert sum(window.correct for window in windows) == int(right.sum())
    assert right.mean() > 0.7


def outputs_of(family: Family, path: Path, x: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    interpreter = runtimes.load(family, path, 1)
    return np.concatenate([interpreter.run([row[np.newaxis]])[0].astype(np.int8) for row in x])


def resnet_self_test(path: Path, family: Family, x: npt.NDArray[np.int8], outputs: npt.NDArray[np.int8]) -> Handed:
    vectors = tuple(
        GoldenVector(inputs=(row.tobytes(),), outputs={family: (out.tobytes(),)})
        for row, out in zip(x, outputs, strict=True)
    )
    path.write_bytes(encode_golden(GoldenSet(vectors=vectors)))
    return Handed(SelfTest(tolerance=Tolerance(family=family, max_abs=0, min_cosine=1)), path)
