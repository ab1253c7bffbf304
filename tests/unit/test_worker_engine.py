"""The one engine that apps and feeds ask, from several threads."""

import threading

import numpy as np
import pytest

from tests.support.fake_interpreter import OUTPUT, FakeInterpreter
from tests.support.wait import wait_until
from wherry.agent.worker.engine import Engine, InferenceFailed
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

X = np.array([[1, 2, 9, 3]], np.int8)


def engine(interpreter: FakeInterpreter) -> Engine:
    return Engine(Model("litert", interpreter), Identity(), 0.0)


@pytest.mark.parametrize("size", [3, 5, 0])
def test_an_output_of_another_size_than_the_model_said_is_the_models_failure(size: int) -> None:
    """As of a model that gives as many boxes as it finds: whoever reads its answer counts on the size."""
    asked = engine(FakeInterpreter(lambda _: np.zeros((1, size), np.int8)))
    with pytest.raises(InferenceFailed, match=rf"scores has {size} bytes, and should have 4"):
        asked.infer([X])
    window = asked.window(1.0)
    assert (window.inferences, window.errors) == (0, 1)


class Gate(FakeInterpreter):
    """Computes until it is opened."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self.open, self.inside = threading.Event(), 0
        self.most_inside = 0

    def _wait(self, x: Tensor) -> Tensor:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        assert self.open.wait(20)
        self.inside -= 1
        return x.copy()


def test_an_answer_is_counted_with_its_label() -> None:
    asked = engine(FakeInterpreter())
    outputs, latency_ms = asked.timed([X], label=2)
    assert outputs[0].tolist() == X.tolist()
    assert latency_ms > 0
    asked.infer([X], label=0)
    window = asked.window(5.0)
    assert (window.inferences, window.labelled, window.correct, window.predictions) == (2, 2, 1, {2: 2})
    assert window.window_s == 5.0
    assert asked.window(6.0).inferences == 0


@pytest.mark.parametrize(
    ("compute", "text"),
    [(lambda x: 1 / 0, "ZeroDivisionError"), (lambda x: np.full((1, 4), np.nan, np.float32), "not a number")],
)
def test_a_model_that_fails_is_an_error_to_the_asker_and_in_the_window(compute: object, text: str) -> None:
    scores = TensorSpec(name="scores", shape=(1, 4), dtype="float32")
    asked = engine(FakeInterpreter(compute, outputs=(scores,)))  # type: ignore[arg-type]
    with pytest.raises(InferenceFailed, match=text):
        asked.infer([X])
    window = asked.window(1.0)
    assert (window.inferences, window.errors) == (0, 1)
    assert text in window.last_error
    assert asked.running_s() == 0.0


def test_one_inference_at_a_time_and_a_window_between_two() -> None:
    gate = Gate()
    asked = engine(gate)
    askers = [threading.Thread(target=asked.infer, args=([X],)) for _ in range(8)]
    for asker in askers:
        asker.start()
    wait_until(lambda: asked.running_s() > 0, "an inference runs")
    said: list[int] = []
    reporter = threading.Thread(target=lambda: said.append(asked.window(1.0).inferences))
    reporter.start()
    assert not said
    gate.open.set()
    for thread in (*askers, reporter):
        thread.join(20)
    assert gate.most_inside == 1
    assert said[0] + asked.window(2.0).inferences == 8


def test_a_model_is_quick_once_it_was_and_while_nobody_asks() -> None:
    gate = Gate()
    asked = engine(gate)
    assert not asked.is_quick, "nothing is known yet"
    gate.open.set()
    asked.infer([X])
    asked.infer([X])
    assert asked.is_quick
    gate.open.clear()
    asker = threading.Thread(target=asked.infer, args=([X],))
    asker.start()
    wait_until(lambda: asked.running_s() > 0, "an inference runs")
    assert not asked.is_quick
    gate.open.set()
    asker.join(20)


def test_scores_of_a_real_model_are_read_as_its_outputs_say() -> None:
    asked = engine(FakeInterpreter(outputs=(OUTPUT,)))
    asked.infer([X])
    assert sum(asked.window(1.0).confidence) == 1
