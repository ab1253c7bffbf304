"""How often a candidate answers as the incumbent did, and where that cannot be said."""

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from tests.support.fake_interpreter import INPUT, OUTPUT, FakeInterpreter
from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.worker.agreement import Compared, compare, describe
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.agent.worker.samples import SAMPLE_EVERY_S, SampleKeeper
from wherry.protocol.manifest import Preprocessing, Quantization, TensorSpec

LABELS = ("a", "b", "c", "d")
X = [np.array([[number == place for place in range(4)]], np.int8) * 50 for number in range(4)]
"""Four inputs; of an interpreter that gives back what it is given, each has another class."""


def file_of(model: Model, labels: tuple[str, ...] = LABELS, asked: int = 12) -> SampleFile:
    """What an incumbent kept that was asked `X`, over and over."""
    file = SampleFile(64 * 1024)
    described = describe(model.inputs, model.outputs, labels)
    assert described is not None
    kept = SampleKeeper(file.writable, described)
    for number in range(asked):
        stored = [X[number % 4].astype(spec.dtype) for spec in model.inputs]
        kept.answered(stored, number % 4, number * SAMPLE_EVERY_S)
    return file


def compared(candidate: Model, file: SampleFile, labels: tuple[str, ...] = LABELS) -> Compared:
    found = compare(candidate, labels, file.writable)
    file.close()
    return found


def model(compute: Callable[[Tensor], Tensor] | None = None, **more: tuple[TensorSpec, ...]) -> Model:
    return Model("litert", FakeInterpreter(compute, **more) if compute else FakeInterpreter(**more))


def test_the_same_answers_agree() -> None:
    found = compared(model(), file_of(model()))
    assert (found.compared, found.agreed) == (12, 12)
    assert found.remark == "the incumbent's class on 12 of 12 inputs that it kept"


def test_other_answers_do_not() -> None:
    """One class of four is taken for its neighbour: nine of twelve inputs are answered alike."""
    found = compared(model(lambda x: x if x[0, 3] == 0 else np.roll(x, 1)), file_of(model()))
    assert (found.compared, found.agreed) == (12, 9)


def test_an_input_that_cannot_be_answered_is_no_agreement() -> None:
    def sick(x: Tensor) -> Tensor:
        if x[0, 0]:
            raise RuntimeError("out of memory")
        return x

    found = compared(model(sick), file_of(model()))
    assert (found.compared, found.agreed) == (12, 9)


def test_an_input_of_another_quantization_is_stored_as_the_candidate_has_it() -> None:
    """Its values are the same; only a candidate that is given them as they were stored would see others."""
    finer = replace(INPUT, quantization=Quantization(scale=1.0, zero_point=20))
    seen: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    found = compared(model(note, inputs=(finer,)), file_of(model()))
    assert (found.compared, found.agreed) == (12, 12)
    assert seen[0].tolist() == [[46, 21, 21, 21]]  # (50 + 1) * 0.5 = 25.5, away from zero 26, and 0.5 is 1


def test_float_and_int8_are_compared_by_their_real_values() -> None:
    real = replace(INPUT, dtype="float32", quantization=None)
    scores = replace(OUTPUT, dtype="float32", quantization=None)
    found = compared(model(inputs=(real,), outputs=(scores,)), file_of(model()))
    assert (found.compared, found.agreed) == (12, 12)


OTHERS: list[tuple[str, Model, tuple[str, ...], str]] = [
    ("labels", model(), ("a", "b", "c", "e"), "the classes are others"),
    ("classes", model(outputs=(replace(OUTPUT, shape=(1, 5)),)), LABELS, "the classes are others"),
    ("shape", model(inputs=(replace(INPUT, shape=(1, 8)),)), LABELS, "the inputs are others"),
    ("number", model(inputs=(INPUT, INPUT)), LABELS, "the inputs are others"),
    (
        "preparation",
        model(inputs=(replace(INPUT, preprocessing=Preprocessing(scale=2.0)),)),
        LABELS,
        "the inputs are others",
    ),
    ("no classes", model(outputs=(replace(OUTPUT, shape=(4, 4)),)), LABELS, "answers without a class"),
]


@pytest.mark.parametrize(("candidate", "labels", "why"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_what_means_something_else_is_not_compared(candidate: Model, labels: tuple[str, ...], why: str) -> None:
    found = compared(candidate, file_of(model()), labels)
    assert (found.compared, found.agreed) == (0, 0)
    assert why in found.remark


def test_an_incumbent_that_nobody_asked_says_nothing() -> None:
    assert "nothing was asked of it yet" in compared(model(), file_of(model(), asked=0)).remark
    assert "nothing was kept" in compared(model(), SampleFile(1000)).remark


def test_whatever_goes_wrong_with_the_comparison_is_told_and_refuses_nobody() -> None:
    """As an incumbent that a model had taken over would wish it: its successor refused for what stands in the file."""
    what = describe((replace(INPUT, dtype="bool"),), (OUTPUT,), LABELS)
    file = SampleFile(1000)
    SampleKeeper(file.writable, what).answered([np.ones((1, 4), np.bool_)], 0, 1.0)
    candidate = model(inputs=(replace(INPUT, dtype="int8", quantization=None),))
    candidate.outputs = (replace(OUTPUT, quantization=Quantization(scale=1e-300, zero_point=0)),)
    assert compared(candidate, file).compared <= 1
    assert "not compared" in compare(model(), LABELS, -1).remark
