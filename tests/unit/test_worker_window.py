"""What one window counts, and how predictions are found."""

import os

import numpy as np
import pytest

from wherry.agent.worker.channel import decode_answer, encode
from wherry.agent.worker.window import MAX_CLASSES, WindowCounts, has_scores, top_class
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.types import MAX_REASON_CHARS


@pytest.mark.parametrize("classes", [10, 64, 200])
def test_at_most_64_classes_are_named_and_they_are_the_commonest(classes: int) -> None:
    counts = WindowCounts(0.0)
    for top in range(classes):
        for _ in range(1 + top):
            counts.add(1.0, top, None)
    window = counts.window(10.0, 1)
    named = min(classes, MAX_CLASSES)
    assert window.predictions == {top: 1 + top for top in range(classes - named, classes)}
    assert window.inferences == classes * (classes + 1) // 2


def test_a_long_reason_is_clipped_to_what_a_message_carries() -> None:
    counts = WindowCounts(0.0)
    counts.fail("x" * 10_000)
    assert len(counts.window(1.0, 1).last_error) == MAX_REASON_CHARS


def test_a_reason_with_bytes_that_are_no_text_can_be_sent() -> None:
    counts = WindowCounts(0.0)
    counts.pass_over(f"{os.fsdecode(b'caf' + bytes([0xE9]))}.npz: damaged \ud800")
    window = counts.window(1.0, 1)
    assert decode_answer(encode(window)[4:]) == window
    assert window.remark == "caf\\udce9.npz: damaged \\ud800"
    assert (window.bad_files, window.errors) == (1, 0)


def test_latency_quantiles_come_from_what_was_added() -> None:
    counts = WindowCounts(0.0)
    for latency_ms in range(1, 101):
        counts.add(float(latency_ms), None, 3)
    window = counts.window(1.0, 1)
    assert window.latency.count == 100
    assert (window.labelled, window.predictions) == (0, {})


@pytest.mark.parametrize(
    ("shape", "scores"), [((1, 10), True), ((10,), True), ((1, 1, 1, 2), True), ((1, 1), False), ((1, 2, 4), False)]
)
def test_scores_are_one_row_of_two_or_more(shape: tuple[int, ...], scores: bool) -> None:
    assert has_scores((TensorSpec(name="a", shape=shape, dtype="int8"),)) is scores


def test_the_first_of_equal_scores_is_the_top() -> None:
    assert top_class(np.array([[1, 5, 5]], np.int8)) == 1
