"""Serving with a fake model on a real channel, on a clock that the test moves."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from tests.support.fake_interpreter import INPUT, OUTPUT, FakeInterpreter, echo
from wherry.agent.worker.channel import Frames, WorkerChannel, decode_answer
from wherry.agent.worker.engine import InferenceFailed
from wherry.agent.worker.messages import Serve, Window
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.agent.worker.serving import Serving
from wherry.protocol.manifest import TensorSpec

WINDOW_S = 1.0
BEAT_S = 0.125


class Bench:
    """A `Serving` that is stepped through simulated time, and asked meanwhile; what it says is read from the socket."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        ours.setblocking(False)
        self.ours, self._channel = ours, WorkerChannel(theirs)
        self._frames, self.now_s = Frames(), 0.0
        self.asked = 0

    def serve(self, compute: Callable[[Tensor], Tensor] = echo, output: TensorSpec = OUTPUT) -> None:
        self.interpreter = FakeInterpreter(compute, outputs=(output,))
        self.serving = Serving(Serve(window_s=WINDOW_S), Model("litert", self.interpreter), self._channel, self.now_s)

    def until(self, end_s: float, *tops: int, labels: Sequence[int] = ()) -> None:
        """Let time pass; at every beat one of `tops` is asked, in turn, which is the place of its largest value."""
        while self.now_s < end_s:
            self.serving.step(self.now_s)
            if tops:
                turn, self.asked = self.asked, self.asked + 1
                self._ask(tops[turn % len(tops)], labels[turn % len(labels)] if labels else None)
            self.now_s += BEAT_S

    def _ask(self, top: int, label: int | None) -> None:
        x = np.zeros((1, 4), np.int8)
        x[0, top] = 9
        with contextlib.suppress(InferenceFailed):
            self.serving._engine.infer([x], label)

    def said(self) -> list[Window]:
        windows: list[Window] = []
        try:
            while True:
                for body in self._frames.feed(self.ours.recv(1 << 16)):
                    answer = decode_answer(body)
                    assert isinstance(answer, Window)
                    windows.append(answer)
        except BlockingIOError:
            return windows

    def last(self) -> Window:
        return self.serving.last_window(self.now_s)


@pytest.fixture
def bench() -> Iterator[Bench]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Bench(ours, theirs)


def test_windows_follow_the_clock_and_count_what_was_answered(bench: Bench) -> None:
    bench.serve()
    bench.until(10.05, 0, 1)
    windows = bench.said()
    assert len(windows) == 10
    assert sum(window.inferences for window in windows) == pytest.approx(80, abs=2)
    assert all(window.window_s == pytest.approx(WINDOW_S, abs=0.2) for window in windows)
    assert all(window.latency.count == window.inferences and window.errors == 0 for window in windows)


def test_labels_and_predictions_are_counted_by_the_top_class(bench: Bench) -> None:
    bench.serve()
    bench.until(4.0, 3, 1, 1, 0, labels=[3, 1, 2, 0])
    said = [*bench.said(), bench.last()]
    assert sum(each.labelled for each in said) == 32
    assert sum(each.correct for each in said) == 24
    totals = {top: sum(each.predictions.get(top, 0) for each in said) for top in range(4)}
    assert totals == {0: 8, 1: 16, 2: 0, 3: 8}


def test_samples_without_labels_are_not_counted_as_labelled(bench: Bench) -> None:
    bench.serve()
    bench.until(1.0, 1)
    window = bench.last()
    assert (window.inferences, window.labelled, window.correct) == (8, 0, 0)


def test_an_output_that_is_no_row_of_scores_gives_no_prediction(bench: Bench) -> None:
    box = TensorSpec(name="box", shape=(1, 2, 4), dtype="float32")
    bench.serve(lambda x: np.zeros((1, 2, 4), np.float32), box)
    bench.until(1.0, 1, labels=[1])
    window = bench.last()
    assert (window.inferences, window.labelled, window.predictions) == (8, 0, {})


def test_an_inference_that_raises_is_an_error_and_serving_goes_on(bench: Bench) -> None:
    def moody(x: Tensor) -> Tensor:
        if np.argmax(x) == 1:
            raise RuntimeError("node 7 failed to invoke")
        return x

    bench.serve(moody)
    bench.until(2.0, 0, 1)
    windows = [*bench.said(), bench.last()]
    assert sum(each.inferences for each in windows) == 8
    assert sum(each.errors for each in windows) == 8
    assert "node 7 failed to invoke" in windows[-1].last_error


def test_a_score_that_is_not_a_number_is_an_error(bench: Bench) -> None:
    scores = TensorSpec(name="scores", shape=(1, 2), dtype="float32")
    bench.serve(lambda x: np.array([[0.5, np.nan]], np.float32), scores)
    bench.until(1.0, 0)
    window = bench.last()
    assert (window.inferences, window.errors) == (0, 8)
    assert "not a number" in window.last_error


def test_windows_come_where_nobody_asks(bench: Bench) -> None:
    bench.serve()
    bench.until(3.15)
    assert [each.inferences for each in bench.said()] == [0] * 3


def test_windows_wait_for_a_slow_reader_and_nothing_counted_is_lost(bench: Bench) -> None:
    bench.serve()
    bench.until(600.0, 0, 1, 2, 3)  # nobody reads: far more windows than the socket holds
    queued = bench.said()
    assert len(queued) < 590
    bench.until(602.0, 0, 1, 2, 3)
    said = [*queued, *bench.said(), bench.last()]
    assert sum(each.inferences for each in said) == bench.interpreter.ran == bench.asked


def test_the_inputs_are_those_of_the_file_where_the_manifest_says_nothing_more(bench: Bench) -> None:
    bench.serve()
    assert bench.serving._engine.inputs == (INPUT,)
