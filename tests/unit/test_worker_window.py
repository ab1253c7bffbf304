"""What one window counts, and how predictions are found."""

import os
import time

import pytest

from wherry.agent.worker.channel import decode_answer, encode
from wherry.agent.worker.window import WindowCounts
from wherry.protocol.profile import MAX_CLASSES
from wherry.protocol.scores import Reading
from wherry.protocol.types import MAX_REASON_CHARS


@pytest.mark.parametrize("classes", [10, 64, 200])
def test_at_most_64_classes_are_named_and_they_are_the_commonest(classes: int) -> None:
    counts = WindowCounts(0.0)
    for top in range(classes):
        for _ in range(1 + top):
            counts.add(1.0, Reading(top, 0.5), None)
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
    counts.fail(f"{os.fsdecode(b'caf' + bytes([0xE9]))}.npz: damaged \ud800")
    window = counts.window(1.0, 1)
    assert decode_answer(encode(window)[4:]) == window
    assert window.last_error == "caf\\udce9.npz: damaged \\ud800"


def test_latency_quantiles_come_from_what_was_added() -> None:
    counts = WindowCounts(0.0)
    for latency_ms in range(1, 101):
        counts.add(float(latency_ms), None, 3)
    window = counts.window(1.0, 1)
    assert window.latency.count == 100
    assert (window.labelled, window.predictions) == (0, {})


def test_confidence_is_counted_in_ten_bins_of_which_the_last_holds_certainty() -> None:
    counts = WindowCounts(0.0)
    for confidence in (0.0, 0.099, 0.1, 0.55, 0.999, 1.0):
        counts.add(1.0, Reading(0, confidence), None)
    assert counts.window(1.0, 1).confidence == (2, 1, 0, 0, 0, 1, 0, 0, 0, 2)


def test_a_model_without_scores_has_no_confidence() -> None:
    counts = WindowCounts(0.0)
    counts.add(1.0, None, None)
    assert counts.window(1.0, 1).confidence == ()


def test_a_window_says_the_processor_time_that_the_worker_used() -> None:
    counts = WindowCounts(0.0)
    start_s = time.process_time()
    while time.process_time() - start_s < 0.01:
        pass
    assert counts.window(1.0, 1).cpu_s >= 0.01
