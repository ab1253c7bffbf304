"""Serving with a fake model on a real channel, on a clock that the test moves."""

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.fake_interpreter import INPUT, OUTPUT, FakeInterpreter, echo
from wherry.agent.worker.channel import Frames, WorkerChannel, decode_answer
from wherry.agent.worker.messages import Feed, Serve, Window
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.agent.worker.serving import Serving
from wherry.protocol.manifest import TensorSpec

RATE_HZ = 10.0
WINDOW_S = 1.0


class Bench:
    """A `Serving` that is stepped through simulated time; what it says is read from the socket."""

    def __init__(self, ours: socket.socket, theirs: socket.socket, directory: Path) -> None:
        ours.setblocking(False)
        self.ours, self._channel, self._directory = ours, WorkerChannel(theirs), directory
        self._frames, self.now_s = Frames(), 0.0

    def serve(
        self, compute: Callable[[Tensor], Tensor] = echo, output: TensorSpec = OUTPUT, *, feed: str | None = ""
    ) -> None:
        self.serve_with(FakeInterpreter(compute, outputs=(output,)), feed=feed)

    def serve_with(self, interpreter: FakeInterpreter, *, feed: str | None = "") -> None:
        directory = None if feed is None else Feed(directory=str(self._directory / feed), rate_hz=RATE_HZ)
        self.interpreter = interpreter
        order = Serve(feed=directory, window_s=WINDOW_S)
        self.serving = Serving(order, Model("litert", self.interpreter), self._channel, self.now_s)

    def until(self, end_s: float) -> None:
        while self.now_s < end_s:
            self.serving.step(self.now_s)
            self.now_s += max(self.serving.wait_s(self.now_s), 1e-4)

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


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Bench(ours, theirs, tmp_path)


def save(directory: Path, *tops: int, name: str = "a.npz", labels: list[int] | None = None) -> None:
    """One sample for each of `tops`, which is the place of its largest value."""
    x = np.zeros((len(tops), 4), np.int8)
    x[np.arange(len(tops)), tops] = 9
    np.savez(directory / name, x=x, **({} if labels is None else {"y": np.array(labels)}))


def test_inferences_follow_the_rate_and_windows_the_clock(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 0, 1)
    bench.serve()
    bench.until(10.05)
    windows = bench.said()
    assert len(windows) == 10
    assert sum(window.inferences for window in windows) == pytest.approx(100, abs=2)
    assert all(window.window_s == pytest.approx(WINDOW_S, abs=0.2) for window in windows)
    assert all(window.latency.count == window.inferences and window.errors == 0 for window in windows)


def test_labels_and_predictions_are_counted_by_the_top_class(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 3, 1, 1, 0, labels=[3, 1, 2, 0])
    bench.serve()
    bench.until(3.95)
    window = bench.serving.last_window(bench.now_s)
    said = [*bench.said(), window]
    assert sum(each.labelled for each in said) == 40
    assert sum(each.correct for each in said) == 30
    totals = {top: sum(each.predictions.get(top, 0) for each in said) for top in range(4)}
    assert totals == {0: 10, 1: 20, 2: 0, 3: 10}


def test_samples_without_labels_are_not_counted_as_labelled(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 1)
    bench.serve()
    bench.until(0.95)
    window = bench.serving.last_window(bench.now_s)
    assert (window.inferences, window.labelled, window.correct) == (10, 0, 0)


def test_an_output_that_is_no_row_of_scores_gives_no_prediction(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 1, labels=[1])
    box = TensorSpec(name="box", shape=(1, 2, 4), dtype="float32")
    bench.serve(lambda x: np.zeros((1, 2, 4), np.float32), box)
    bench.until(0.95)
    window = bench.serving.last_window(bench.now_s)
    assert (window.inferences, window.labelled, window.predictions) == (10, 0, {})


def test_an_inference_that_raises_is_an_error_and_serving_goes_on(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 0, 1)

    def moody(x: Tensor) -> Tensor:
        if np.argmax(x) == 1:
            raise RuntimeError("node 7 failed to invoke")
        return x

    bench.serve(moody)
    bench.until(1.95)
    windows = [*bench.said(), bench.serving.last_window(bench.now_s)]
    assert sum(each.inferences for each in windows) == 10
    assert sum(each.errors for each in windows) == 10
    assert "node 7 failed to invoke" in windows[-1].last_error


def test_a_score_that_is_not_a_number_is_an_error(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 0)
    scores = TensorSpec(name="scores", shape=(1, 2), dtype="float32")
    bench.serve(lambda x: np.array([[0.5, np.nan]], np.float32), scores)
    bench.until(0.95)
    window = bench.serving.last_window(bench.now_s)
    assert (window.inferences, window.errors) == (0, 10)
    assert "not a number" in window.last_error


def test_a_bad_file_is_counted_once_a_cycle_is_no_error_and_costs_no_beat(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 0, 1)
    (tmp_path / "b.npz").write_bytes(b"not an archive")
    bench.serve()
    bench.until(2.95)
    windows = [*bench.said(), bench.serving.last_window(bench.now_s)]
    assert sum(each.inferences for each in windows) == 30
    assert sum(each.bad_files for each in windows) == pytest.approx(15, abs=1)
    assert sum(each.errors for each in windows) == 0
    assert "b.npz" in windows[0].remark
    assert windows[0].last_error == ""


def test_a_missing_directory_is_said_once_and_is_no_error(bench: Bench, tmp_path: Path) -> None:
    bench.serve(feed="later")
    bench.until(3.05)
    first, *others = bench.said()
    assert "is not there" in first.remark
    assert [each.remark for each in others] == [""] * len(others)
    assert sum(each.errors + each.inferences for each in [first, *others]) == 0
    (tmp_path / "later").mkdir()
    save(tmp_path / "later", 0)
    bench.until(6.05)
    assert sum(each.inferences for each in bench.said()) > 0


def test_without_a_feed_windows_still_come(bench: Bench) -> None:
    bench.serve(feed=None)
    bench.until(3.05)
    assert [(each.inferences, each.remark) for each in bench.said()] == [(0, "")] * 3


def test_windows_wait_for_a_slow_reader_and_nothing_counted_is_lost(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path, 0, 1, 2, 3)
    bench.serve()
    bench.until(600.0)  # nobody reads: far more windows than the socket holds
    queued = bench.said()
    assert len(queued) < 590
    bench.until(602.0)
    said = [*queued, *bench.said(), bench.serving.last_window(bench.now_s)]
    assert sum(each.inferences for each in said) == bench.interpreter.ran


def test_a_model_of_several_inputs_is_fed_in_the_order_of_its_inputs(bench: Bench, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", aside=np.full((1, 2), 5, np.float32), x=np.zeros((1, 4), np.int8), y=np.array([2]))
    seen: list[list[Tensor]] = []

    class Both(FakeInterpreter):
        def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
            seen.append([*inputs])
            return super().run(inputs)

    interpreter = Both(inputs=(INPUT, TensorSpec(name="aside", shape=(1, 2), dtype="float32")))
    bench.serve_with(interpreter)
    bench.until(0.25)
    assert [tensor.tolist() for tensor in seen[0]] == [[[0, 0, 0, 0]], [[5.0, 5.0]]]
    assert bench.serving.last_window(bench.now_s).labelled == len(seen)
