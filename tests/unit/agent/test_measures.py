"""What is gathered of windows: for telemetry, for a probation, and as the incumbent's past."""

from pathlib import Path

import msgspec
import pytest

from tests.support.cargo_hold import make_version
from wherry.agent.adapters.store import Store
from wherry.agent.core import effects
from wherry.agent.core.drift import Baseline
from wherry.agent.core.record import Attempt, DeviceRecord, SlotRecord, Wish
from wherry.agent.measures import SPELL_S, SPELLS, Past, Tally
from wherry.agent.worker.messages import Window
from wherry.protocol.latency import LatencySketch
from wherry.protocol.profile import MAX_CLASSES

EMPTY = LatencySketch()


def _window(predictions: dict[int, int], bin_: int = 9, window_s: float = 1.0, cpu_s: float = 0.0) -> Window:
    inferences = sum(predictions.values())
    confidence = tuple(inferences if index == bin_ else 0 for index in range(10))
    return Window(
        window_s=window_s, inferences=inferences, errors=0, latency=EMPTY, predictions=predictions,
        confidence=confidence, rss_bytes=1, cpu_s=cpu_s,
    )  # fmt: skip


def test_a_tally_sums_answers_and_processor_time() -> None:
    tally = Tally()
    tally.add(_window({0: 3, 1: 1}, cpu_s=0.5))
    tally.add(_window({1: 6}, bin_=2, cpu_s=1.0))
    profile = tally.profile()
    assert (profile.samples, profile.predictions) == (10, {1: 7, 0: 3})
    assert profile.confidence == (0, 0, 6, 0, 0, 0, 0, 0, 0, 4)
    assert tally.cpu_s == 1.5


def test_windows_without_classes_leave_an_empty_profile() -> None:
    tally = Tally()
    tally.add(Window(window_s=1, inferences=50, errors=0, latency=EMPTY, rss_bytes=1))
    assert tally.profile() == msgspec.structs.replace(tally.profile(), samples=0, predictions={}, confidence=())


def test_what_nobody_asked_has_no_past() -> None:
    past = Past()
    past.add(Window(window_s=1, inferences=0, errors=0, latency=EMPTY, rss_bytes=1))
    assert past.baseline() is None


def test_a_past_of_like_windows_does_not_clump_and_one_of_scenes_does() -> None:
    alike, scenes = Past(), Past()
    for minute in range(10):
        for _ in range(int(SPELL_S)):
            alike.add(_window({0: 5, 1: 5}))
            scenes.add(_window({minute % 2: 10}, bin_=minute % 3 + 5))
    assert alike.baseline() == Baseline(samples=3000, predictions={0: 1500, 1: 1500}, confidence=(*[0] * 9, 3000))
    clumped = scenes.baseline()
    assert clumped is not None
    assert clumped.samples / clumped.prediction_clumping == pytest.approx(9)
    assert clumped.samples / clumped.confidence_clumping < 20


def test_the_past_is_of_the_last_half_hour_and_bounded() -> None:
    past = Past()
    for second in range(10_000):
        past.add(_window({second % 200: 1}))
    baseline = past.baseline()
    assert baseline is not None
    assert baseline.samples <= SPELL_S * SPELLS
    assert len(baseline.predictions) == MAX_CLASSES
    past.clear()
    assert past.baseline() is None


def test_what_a_candidate_is_held_against_outlives_a_power_cut(tmp_path: Path) -> None:
    version, past = make_version(2), Past()
    past.add(_window({0: 70, 9: 30}))
    slot = SlotRecord(
        state="probation", attempt=Attempt(wish=Wish(assignment=version.assignment, epoch=1, generation=1))
    )
    after = effects.with_baseline(slot, 1.5, past.baseline(), broker_before=True)
    store = Store(tmp_path)
    store.save(DeviceRecord().with_slot("main", after))
    store.close()
    store = Store(tmp_path)
    attempt = store.record.slot("main").attempt
    store.close()
    assert attempt is not None
    assert attempt.incumbent == past.baseline()
    assert (attempt.incumbent_p95_ms, attempt.broker_before) == (1.5, True)
