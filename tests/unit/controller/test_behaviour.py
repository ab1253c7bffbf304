"""Sums of what versions did: exact where they count, forgetful where they compare."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.depot import SYSTEM
from wherry.controller.core.behaviour import (
    MEMORY,
    Behaviour,
    after_crash,
    after_window,
    merged_confidence,
    merged_latency,
    merged_predictions,
)
from wherry.protocol.latency import MAX_BINS, LatencySketch, LatencyWindow
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Telemetry

REF = VersionRef(model="digits", version=2, variant="int8", manifest="0" * 64, artifact="1" * 64)
latencies_ms = st.lists(st.floats(0.01, 1e5), max_size=40)


def sketch(values_ms: list[float]) -> LatencySketch:
    window = LatencyWindow()
    for value_ms in values_ms:
        window.add(value_ms)
    return window.sketch()


def window(**more: object) -> Telemetry:
    values = {"boot_id": "b1", "window": 1, "window_s": 60.0, "slot": "main", "ref": REF, "phase": "running"}
    counts = {"inferences": 0, "errors": 0, "latency": LatencySketch(), "system": SYSTEM}
    return Telemetry(**(values | counts | more))  # type: ignore[arg-type]


def test_counters_add_up() -> None:
    seen = Behaviour()
    for _ in range(3):
        seen = after_window(seen, window(inferences=10, errors=2, labelled=5, correct=4))
    seen = after_crash(seen)
    assert (seen.inferences, seen.errors, seen.labelled, seen.correct, seen.crashes) == (30, 6, 15, 12, 1)


@given(st.lists(latencies_ms, max_size=6))
def test_merging_sketches_is_sketching_all_values(parts: list[list[float]]) -> None:
    together = sketch([value_ms for part in parts for value_ms in part])
    assert merged_latency(sketch(part) for part in parts) == together


def test_what_lies_too_far_apart_is_counted_in_the_highest_bin() -> None:
    low, high = LatencySketch(first_key=-1500, counts=(3,)), LatencySketch(first_key=1500, counts=(4,))
    found = merged_latency((low, high))
    assert (found.count, len(found.counts), found.counts[0]) == (7, MAX_BINS, 3)


def test_a_histogram_forgets_and_a_counter_does_not() -> None:
    told = {"latency": LatencySketch(counts=(MEMORY,)), "predictions": {1: MEMORY}, "confidence": (0,) * 9 + (MEMORY,)}
    seen = Behaviour()
    for _ in range(10):
        seen = after_window(seen, window(inferences=MEMORY, **told))
    assert seen.inferences == 10 * MEMORY
    assert seen.latency.count <= 3 * MEMORY
    assert sum(seen.predictions.values()) == sum(seen.confidence) == seen.latency.count


def test_what_changed_shows_soon_behind_a_long_past() -> None:
    """Without forgetting, a year at 1 ms would outvote a day at 9 ms."""
    fast, slow = LatencySketch(first_key=0, counts=(MEMORY,)), LatencySketch(first_key=110, counts=(MEMORY,))
    seen = Behaviour()
    for told in [fast] * 365 + [slow] * 6:
        seen = after_window(seen, window(latency=told))
    p95_ms = LatencyWindow((seen.latency,)).quantile_ms(0.95)
    assert p95_ms is not None
    assert p95_ms > 8


def test_only_the_commonest_classes_are_kept() -> None:
    many = {key: key + 1 for key in range(100)}
    found = merged_predictions((many, {99: 5}))
    assert len(found) == 64
    assert found[99] == 105
    assert min(found) == 36


def test_a_confidence_of_another_form_is_left_out() -> None:
    assert merged_confidence(((1,) * 10, (), (1, 2), (2,) * 10)) == (3,) * 10


def test_memory_is_the_most_that_was_seen() -> None:
    system = msgspec.structs.replace(SYSTEM, worker_rss_bytes=500)
    seen = after_window(after_window(Behaviour(), window(system=system)), window())
    assert seen.memory_bytes == max(500, SYSTEM.worker_rss_bytes)
