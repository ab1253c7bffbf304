"""SavedModels as sources: what their float TFLite computes, which signature, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_case import Outcome, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # one process makes all cases; busy machines take long

PARITY_DB = 60


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    directory = tmp_path_factory.mktemp("saved_model")
    command = [sys.executable, "-m", "tests.support.spare", "tests.support.saved_model_sources", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    return outcomes(directory)


@pytest.mark.parametrize("case", ["exported", "saved", "old", "packed", "listen", "weigh", "fixed"])
def test_the_float_file_computes_what_the_signature_computes(found: dict[str, Outcome], case: str) -> None:
    outcome = found[case]
    assert outcome.snr_db, outcome.message
    assert min(outcome.snr_db.values()) > PARITY_DB
    assert not outcome.constant, "outputs that never change prove nothing"


def test_a_packed_directory_gives_the_bytes_of_the_directory(found: dict[str, Outcome]) -> None:
    assert found["packed"].digest == found["exported"].digest


def test_several_ends_keep_the_names_of_the_signature(found: dict[str, Outcome]) -> None:
    model = found["exported"].model
    assert model is not None
    assert {end.name: end.shape for end in (*model.inputs, *model.outputs)} == {
        "picture": (1, 16, 16, 3),
        "sound": (1, 64, 1),
        "age_years": (1, 4),
        "output_0": (1, 3),
        "output_1": (1, 1),
    }
    assert "net_1/hidden_1" in model.layers.values()


def test_an_end_without_a_batch_is_known_as_such(found: dict[str, Outcome]) -> None:
    model = found["weigh"].model
    assert model is not None
    assert {end.name: (end.sample_shape, end.batched) for end in (*model.inputs, *model.outputs)} == {
        "row": ((4,), True),
        "scale": ((3,), False),
        "weighed": ((3,), True),
        "echo": ((3,), False),
    }


@pytest.mark.parametrize(
    ("case", "kind", "said", "fix"),
    [
        ("plain", "BadRequest", "has the signatures listen, weigh", "--signature"),
        ("no_signature", "BadRequest", "no signature 'sing', it has listen, weigh", "--signature"),
        ("no_length", "UnsupportedModel", "input 'sound' is not fixed: [?, ?, 1]", "--input-shape 1,224,1"),
        ("write_file", "UnsafeModel", "WriteFile (in __inference_write_file", "outside of it"),
        ("called_restore", "UnsafeModel", "RestoreV2 (in __inference_called_restore", "outside of it"),
        ("disguised", "UnsafeModel", "RestoreV2 (in ", "outside of it"),
        ("python_call", "UnsafeModel", "EagerPyFunc (in __inference_python_call", "outside of it"),
        ("deep_foreign", "UnsupportedOperators", "Erfinv (in strange/erfinv)", "replace the layers"),
        ("deep_foreign", "UnsupportedOperators", "BesselI0e (in strange/bessel_i0e)", "replace the layers"),
        ("data_dependent", "UnsupportedModel", "output 'y' has a shape that depends on the data", "fixed size"),
        ("not_a_number", "UnreadableModel", "'broken' holds NaN", "train again"),
        ("text", "UnsupportedModel", "input 'x' is string", "outside of it"),
        ("no_graph", "UnreadableModel", "it has no saved_model.pb", "the directory that holds it"),
        ("no_index", "UnreadableModel", "variables/variables.index is missing", "copy the whole directory"),
        ("cut", "UnreadableModel", "saved_model.pb is truncated", "copy the whole directory"),
        ("cut_weights", "UnreadableModel", "TensorFlow cannot load it", "copy the whole directory"),
        ("cut_zip", "UnreadableModel", "nor a sound .zip", "copy the whole directory"),
        ("absent", "SourceMissing", "no such directory", "check the path"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_place_and_the_fix(
    found: dict[str, Outcome], case: str, kind: str, said: str, fix: str
) -> None:
    outcome = found[case]
    assert outcome.kind == kind, outcome.message
    assert said in outcome.message
    assert fix in outcome.fix


def test_what_would_have_been_written_was_not(found: dict[str, Outcome]) -> None:
    assert found["write_file"].kind == "UnsafeModel"
    assert not Path("/tmp/wherry-was-here").exists()
