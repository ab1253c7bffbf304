"""Real conversions of real networks, from Keras file to package."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.conftest import INT8_RECIPE, LABELS
from tests.support.conversion import Conversion, convert, interrupt, request
from wherry.converters.report import decode_report
from wherry.converters.verify import golden
from wherry.protocol import blob
from wherry.protocol.manifest import HealthLimits, encode_manifest
from wherry.protocol.runtime import Runtime, satisfies

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[3] / "shared" / "models"
TFLITE_RUNTIME = Runtime(family="tflite-runtime", version="2.14.0")
LITERT = Runtime(family="litert", version="2.3.0")


def imported(conversion: Conversion) -> set[str]:
    """The top-level packages that the process imported, by its own profile."""
    return set(re.findall(r"^import time:[ \d|]+\| +(\w+)$", conversion.stderr, re.MULTILINE))


def test_a_conversion_says_its_steps_and_ends_with_the_report(int8: Conversion) -> None:
    assert int8.status == 0
    begun = [line.step for line in int8.progress if not line.done]
    assert begun == list(range(1, int8.progress[-1].steps + 1))
    assert len(int8.lines) == len(int8.progress) + len(int8.warned) + 1
    (variant,) = int8.report.variants
    assert variant.digest == blob.sha256(int8.file("int8.tflite"))
    assert set(int8.report.steps_s) >= {"compress (int8)"}
    assert int8.report == decode_report(int8.file("report.json"))


def test_the_package_holds_what_the_manifest_describes(int8: Conversion) -> None:
    names = {"int8.tflite", "int8.golden", "manifest.json", "report.json", "report.html"}
    assert {path.name for path in Path(int8.request.out_dir).iterdir()} == names
    assert list(Path(int8.request.out_dir).parent.iterdir()) == [Path(int8.request.out_dir)]
    manifest = int8.manifest
    assert encode_manifest(manifest) == int8.file("manifest.json")
    assert (manifest.model, manifest.version, manifest.labels) == ("digits", 0, LABELS)
    assert manifest.health == HealthLimits(p95_ms=50.0)
    assert manifest.source_digest == blob.sha256(Path(int8.request.source).read_bytes())
    (variant,) = manifest.variants
    assert variant.artifact == blob.describe(int8.file("int8.tflite"))
    assert variant.golden == blob.describe(int8.file("int8.golden"))
    assert [(spec.shape, spec.dtype) for spec in (*variant.inputs, *variant.outputs)] == [
        ((1, 28, 28, 1), "int8"),
        ((1, 10), "int8"),
    ]


def test_the_manifest_says_how_the_file_answered_the_evaluation_data(int8: Conversion, digits: Path) -> None:
    (variant,) = int8.manifest.variants
    reference = variant.reference
    assert reference is not None
    labels = np.load(digits / "heldout.npz")["y"]
    assert reference.samples == sum(reference.predictions.values()) == sum(reference.confidence) == len(labels)
    counts = np.bincount(labels, minlength=10)
    assert all(abs(reference.predictions[digit] - counts[digit]) <= 0.1 * len(labels) for digit in range(10))
    assert reference.confidence[-1] > 0.5 * len(labels), "a good network is sure of most digits"


def test_both_families_run_it_with_goldens_and_tolerances(int8: Conversion) -> None:
    (variant,) = int8.manifest.variants
    assert satisfies(TFLITE_RUNTIME, variant.runtimes)
    assert satisfies(LITERT, variant.runtimes)
    assert {entry.family for entry in variant.tolerances} == {"tflite-runtime", "litert"}
    floors = {floor.family: floor.lowest for floor in variant.runtimes}
    assert floors == {"tflite-runtime": "2.14.0", "litert": "1.0.0"}, "its dense layers have a scale a channel"
    assert len(int8.golden.vectors) == golden.VECTORS
    for vector in int8.golden.vectors:
        assert [len(tensor) for tensor in vector.inputs] == [variant.inputs[0].size_bytes]
        assert {family: len(tensors[0]) for family, tensors in vector.outputs.items()} == {
            "tflite-runtime": variant.outputs[0].size_bytes,
            "litert": variant.outputs[0].size_bytes,
        }
    assert len({vector.inputs for vector in int8.golden.vectors}) == golden.VECTORS


def test_int8_costs_at_most_a_point_and_a_third_of_the_size(int8: Conversion) -> None:
    report = int8.report
    (variant,) = report.variants
    assert variant.artifact_bytes < report.sizes.float_bytes / 3
    assert all(parity.snr_db > 90 for parity in report.parity)
    for result in variant.runtimes:
        assert result.scores is not None
        assert result.scores.samples == 1000
        assert result.scores.float_accuracy is not None
        assert result.scores.float_accuracy.share > 0.93
        assert result.scores.float_accuracy.low < 0.96 < result.scores.float_accuracy.high
        assert result.scores.accuracy_loss is not None
        assert result.scores.accuracy_loss <= 0.01


@pytest.fixture(scope="module")
def taken_as_it_is(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """A file that TensorFlow has quantized in its own way."""
    out = tmp_path_factory.mktemp("as-is") / "out"
    return convert(request(digits / "wide.tflite", digits / "train.npz", out, evaluation=str(digits / "heldout.npz")))


def test_a_quantized_file_is_taken_as_it_is_and_a_runtime_that_lacks_an_operator_left_out(
    taken_as_it_is: Conversion, digits: Path
) -> None:
    (variant,) = taken_as_it_is.manifest.variants
    assert variant.name == "as-is"
    assert abs(variant.artifact.size_bytes - (digits / "wide.tflite").stat().st_size) < 1000, "its batch was fixed"
    assert not satisfies(TFLITE_RUNTIME, variant.runtimes)
    assert satisfies(LITERT, variant.runtimes)
    (left_out,) = [result for result in taken_as_it_is.report.variants[0].runtimes if not result.ok]
    assert left_out.family == "tflite-runtime"
    assert "'FULLY_CONNECTED' version '12'" in left_out.reason
    assert ("FULLY_CONNECTED", 12) in {(operator.name, operator.version) for operator in variant.operators}
    assert {family for vector in taken_as_it_is.golden.vectors for family in vector.outputs} == {"litert"}


def test_a_killed_run_leaves_no_package_and_the_next_sweeps_and_gives_the_same_bytes(
    int8: Conversion, digits: Path, tmp_path: Path
) -> None:
    again = request(
        digits / "better.keras",
        digits / "train.npz",
        tmp_path / "out",
        evaluation=int8.request.evaluation,
        recipe=INT8_RECIPE,
    )
    assert interrupt(again, step=4, by=signal.SIGKILL) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.partial-")
    assert convert(again).status == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert (tmp_path / "out" / "int8.tflite").read_bytes() == int8.file("int8.tflite")
    assert (tmp_path / "out" / "int8.golden").read_bytes() == int8.file("int8.golden")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(digits: Path, tmp_path: Path, by: signal.Signals) -> None:
    wanted = request(digits / "hasty.keras", digits / "train.npz", tmp_path / "out")
    assert interrupt(wanted, step=3, by=by) == 130
    assert list(tmp_path.iterdir()) == []


def test_keras_files_never_import_the_old_keras(int8: Conversion) -> None:
    names = imported(int8)
    assert {"tensorflow", "keras"} <= names
    assert "tf_keras" not in names


def test_frameworks_do_not_bring_along_what_takes_seconds_to_import(int8: Conversion) -> None:
    assert re.search(r"^import time:.*\| +tensorflow\.python$", int8.stderr, re.MULTILINE), "it tells parts"
    assert not re.findall(r"^import time:.*\| +(sklearn\.|pandas\.)", int8.stderr, re.MULTILINE)


def test_an_h5_file_of_the_old_keras_is_read_by_the_old_keras(digits: Path, tmp_path: Path) -> None:
    source = tmp_path / "old.h5"
    command = [sys.executable, "-m", "tests.support.old_keras", str(digits / "train.npz"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    budget = {"budget": {"max_accuracy_loss": 0.02}}
    wanted = request(
        source, digits / "train.npz", tmp_path / "out", evaluation=str(digits / "heldout.npz"), recipe=budget
    )
    conversion = convert(wanted, PYTHONPROFILEIMPORTTIME="1")
    assert all(parity.snr_db > 60 for parity in conversion.report.parity)
    for result in conversion.report.variants[0].runtimes:
        assert result.ok, result.reason
        assert result.scores is not None
        assert result.scores.accuracy is not None
        assert result.scores.accuracy.share > 0.7
    assert "DEPTHWISE_CONV_2D" in {operator.name for operator in conversion.manifest.variants[0].operators}
    assert "tf_keras" in imported(conversion)
    assert "keras" not in imported(conversion)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the ResNet-8 of MLCommons is not on this machine")
def test_resnet8_of_keras_2_is_as_good_as_the_reference(tmp_path: Path) -> None:
    wanted = request(
        SHARED / "resnet8.h5",
        SHARED / "cifar10_calibration_300.npz",
        tmp_path / "out",
        evaluation=str(SHARED / "cifar10_test_1000.npz"),
    )
    conversion = convert(wanted, PYTHONPROFILEIMPORTTIME="1")
    report = conversion.report
    assert report.variants[0].artifact_bytes <= (SHARED / "resnet8_int8_reference.tflite").stat().st_size
    for result in report.variants[0].runtimes:
        assert result.ok
        assert result.scores is not None
        assert result.scores.float_accuracy is not None
        assert result.scores.accuracy is not None
        assert result.scores.float_accuracy.share == pytest.approx(0.774, abs=0.002)
        assert result.scores.accuracy.share == pytest.approx(0.777, abs=0.012), "the reference's own int8"
    assert "tf_keras" in imported(conversion)
    assert "keras" not in imported(conversion)
