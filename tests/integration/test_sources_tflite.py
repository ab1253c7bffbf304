"""TFLite files as sources: taken as they are, given what they lack, or refused before a runtime sees them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.source_case import Outcome, outcomes
from wherry.converters import flatbuffer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # one process makes all cases; busy machines take long

SHARED = Path(__file__).parents[3] / "shared" / "models"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="the real models are not on this machine")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tflite")
    subprocess.run(
        [sys.executable, "-m", "tests.support.spare", "tests.support.tflite_sources", str(found)],
        check=True,
        capture_output=True,
    )
    return found


@pytest.fixture(scope="module")
def found(directory: Path) -> dict[str, Outcome]:
    return outcomes(directory)


@pytest.mark.parametrize(
    ("case", "quantized"),
    [
        pytest.param("resnet8_float_reference", False, marks=real),
        pytest.param("resnet8_int8_reference", True, marks=real),
        pytest.param("mobilenet_v1_0.25_128_quant", True, marks=real),
        ("plain", False),
        ("several", False),
        ("unsigned", False),
        ("no_batch", False),
        ("compressed", True),
        ("half", True),
        ("int8", True),
    ],
)
def test_a_sound_file_computes_the_same_as_a_source(found: dict[str, Outcome], case: str, *, quantized: bool) -> None:
    outcome = found[case]
    assert outcome.model is not None, outcome.message
    assert outcome.model.quantized is quantized
    assert min(outcome.snr_db.values()) > 100
    assert not outcome.constant, "outputs that never change prove nothing"


@pytest.mark.parametrize("case", ["plain", "several", "unsigned"])
def test_the_float_file_has_one_signature_and_a_batch_of_1(
    directory: Path, found: dict[str, Outcome], case: str
) -> None:
    source = flatbuffer.read((directory / f"{case}.tflite").read_bytes())
    assert -1 in source.subgraphs[0].tensors[source.subgraphs[0].inputs[0]].shapeSignature
    model = flatbuffer.read((directory / f"{case}.scratch" / "float.tflite").read_bytes())
    assert len(model.signatureDefs) == 1
    described = found[case].model
    assert described is not None
    named = {int(entry.tensorIndex): flatbuffer.text(entry.name) for entry in model.signatureDefs[0].inputs}
    assert [named[int(index)] for index in model.subgraphs[0].inputs] == [end.name for end in described.inputs]
    assert all(tensor.shapeSignature is None for tensor in model.subgraphs[0].tensors)
    assert all(end.shape[0] == 1 for end in (*described.inputs, *described.outputs))


def test_weights_stay_aligned_when_a_file_is_written_again(directory: Path) -> None:
    content = (directory / "unsigned.scratch" / "float.tflite").read_bytes()
    model = flatbuffer.read(content)
    stored = [bytes(buffer.data) for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 64]
    assert stored
    assert {content.index(data) % 16 for data in stored} == {0}


@real
def test_a_quantized_file_keeps_its_bytes(directory: Path) -> None:
    name = "mobilenet_v1_0.25_128_quant"
    taken = (directory / f"{name}.scratch" / "source.tflite").read_bytes()
    assert taken == (SHARED / f"{name}.tflite").read_bytes()


def test_a_length_that_is_no_batch_is_taken_when_the_user_says_so(found: dict[str, Outcome]) -> None:
    model = found["no_batch"].model
    assert model is not None
    assert [(end.shape, end.batched) for end in model.inputs] == [((4, 10), False)]


@pytest.mark.parametrize(
    ("case", "kind", "said", "fix"),
    [
        ("batch_of_4", "UnsupportedModel", "is [4, 10], with a batch of 4", "--input-shape 4,10"),
        ("foreign_flex", "UnsupportedOperators", "FlexDigamma (for the tensor", "without SELECT_TF_OPS"),
        ("foreign_custom", "UnsupportedOperators", "Erfinv (for the tensor", "without SELECT_TF_OPS"),
        ("recurrent", "UnsupportedModel", "keeps state", "an input and an output"),
        ("broken", "UnreadableModel", "holds NaN", "train again"),
        ("misaddressed", "UnreadableModel", "a tensor that does not exist", "copy the file again"),
        ("oversized", "UnreadableModel", "its shape asks for", "copy the file again"),
        ("wrong_signature", "BadRequest", "no signature 'sing', it has serving_default", "--signature"),
        ("text", "UnreadableModel", "not a TFLite file", "copy the file again"),
        ("empty", "UnreadableModel", "not a TFLite file", "copy the file again"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_place_and_the_fix(
    found: dict[str, Outcome], case: str, kind: str, said: str, fix: str
) -> None:
    outcome = found[case]
    assert outcome.kind == kind, outcome.message
    assert said in outcome.message
    assert fix in outcome.fix


def test_cut_and_changed_files_end_in_a_refusal_or_are_let_through_but_never_in_a_crash(
    directory: Path, tried: Tried
) -> None:
    said = (directory / "fuzz.txt").read_text()
    tried(said)
    refused, _, wanted = said.split(" cut")[0].split()
    assert refused == wanted
