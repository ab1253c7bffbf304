"""Keras files as sources: what their float TFLite computes, its names, and what is refused."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_case import Outcome, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # one process makes all cases; busy machines take long

PARITY_DB = 60


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("keras")
    subprocess.run(
        [sys.executable, "-m", "tests.support.spare", "tests.support.keras_sources", str(found)],
        check=True,
        capture_output=True,
    )
    return found


@pytest.fixture(scope="module")
def found(directory: Path) -> dict[str, Outcome]:
    return outcomes(directory)


@pytest.mark.parametrize(
    "case",
    [
        *("three_inputs", "dicts", "sequential", "recurrent", "half", "sized", "trusted"),
        *("old-three_inputs", "old-dicts", "old-sequential", "old-recurrent", "old-half", "old-sized", "old-trusted"),
        *("int32", "int64", "uint8", "bool", "float16", "built", "own_loss", "new_h5", "old_zip"),
    ],
)
def test_the_float_file_computes_what_the_model_computes(found: dict[str, Outcome], case: str) -> None:
    outcome = found[case]
    assert outcome.snr_db, outcome.message
    assert min(outcome.snr_db.values()) > PARITY_DB
    assert not outcome.constant, "outputs that never change prove nothing"


@pytest.mark.parametrize("case", ["three_inputs", "old-three_inputs"])
def test_ends_have_the_names_of_their_layers(found: dict[str, Outcome], case: str) -> None:
    model = found[case].model
    assert model is not None
    ends = {end.name: (end.shape, end.batched) for end in (*model.inputs, *model.outputs)}
    assert ends == {
        "picture": ((1, 16, 16, 3), True),
        "sound": ((1, 64, 1), True),
        "age-years": ((1, 4), True),
        "kind": ((1, 3), True),
        "price": ((1, 1), True),
    }
    assert model.framework == ("tf_keras" if case.startswith("old") else "keras")
    assert set(model.tools) == {"tensorflow", model.framework}


@pytest.mark.parametrize("case", ["dicts", "old-dicts"])
def test_ends_in_dicts_have_the_names_of_their_keys(found: dict[str, Outcome], case: str) -> None:
    model = found[case].model
    assert model is not None
    assert {end.name: end.shape for end in model.inputs} == {"zulu": (1, 6), "alpha": (1, 5)}
    assert {end.name: end.shape for end in model.outputs} == {"size": (1, 2), "colour": (1, 3)}


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "float16"])
def test_inputs_keep_their_type(found: dict[str, Outcome], dtype: str) -> None:
    model = found[dtype].model
    assert model is not None
    assert [end.dtype for end in model.inputs] == [dtype]


@pytest.mark.parametrize("case", ["three_inputs", "old-three_inputs"])
def test_tensors_know_their_layers_by_the_names_that_these_have_in_the_model(
    found: dict[str, Outcome], case: str
) -> None:
    model = found[case].model
    assert model is not None
    assert set(model.layers.values()) == {
        *("conv2d", "conv2d_1", "inner/conv2d", "inner/conv2d_1", "wave", "pool", "flat", "cat"),
        *("hidden", "kind", "price"),
    }, "bn and act are fused into the convolution that they follow"
    outputs = {layer for tensor, layer in model.layers.items() if tensor.startswith("StatefulPartitionedCall")}
    assert outputs == {"kind", "price"}
    (fused,) = [layer for tensor, layer in model.layers.items() if "act" in tensor]
    assert fused == "conv2d", "the layer that holds the weights"


def test_the_same_model_gives_the_same_bytes_in_another_process(
    directory: Path, found: dict[str, Outcome], tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from wherry.converters.model import SourceOptions;"
        "from wherry.converters.sources import keras;"
        "keras.build(Path(sys.argv[1]), SourceOptions(), Path(sys.argv[2]))"
    )
    model = directory / "three_inputs.keras"
    command = [sys.executable, "-c", program, str(model), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    again = (tmp_path / "float.tflite").read_bytes()
    assert hashlib.sha256(again).hexdigest() == found["three_inputs"].digest


@pytest.mark.parametrize(
    ("case", "kind", "said", "fix"),
    [
        ("any_size", "UnsupportedModel", "input 'any' is not fixed: [?, ?, ?, 3]", "--input-shape 1,224,224,3"),
        ("old-any_size", "UnsupportedModel", "input 'any' is not fixed", "--input-shape 1,224,224,3"),
        ("two_any_sizes", "UnsupportedModel", "input 'left' is not fixed", "--input-shape left=1,224,3"),
        ("old-two_any_sizes", "UnsupportedModel", "input 'left' is not fixed", "--input-shape left=1,224,3"),
        ("wrong_name", "BadRequest", "names 'width', the inputs are left, right", "one of these"),
        ("no_name", "BadRequest", "has the inputs left, right", "--input-shape left=1,"),
        ("wrong_shape", "BadRequest", "[1, 8, 4] for input 'left', the model has [?, ?, 3]", "open lengths only"),
        ("wrong_batch", "BadRequest", "a batch of 2", "always 1"),
        ("not_a_number", "UnreadableModel", "'broken/kernel' holds NaN", "train again"),
        ("old-not_a_number", "UnreadableModel", "'broken/kernel:0' holds NaN", "train again"),
        ("code", "UnsafeModel", "Lambda", "--trust-pickle"),
        ("old-code", "UnsafeModel", "Lambda", "--trust-pickle"),
        ("foreign", "UnsupportedOperators", "Erfinv (in strange_1/erfinv)", "replace the layers"),
        ("stateful", "UnsupportedModel", "keeps its state", "stateful=False"),
        ("never_built", "UnsupportedModel", "was never built", "--input-shape"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_place_and_the_fix(
    found: dict[str, Outcome], case: str, kind: str, said: str, fix: str
) -> None:
    outcome = found[case]
    assert outcome.kind == kind, outcome.message
    assert said in outcome.message
    assert fix in outcome.fix
