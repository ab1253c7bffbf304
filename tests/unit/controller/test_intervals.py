"""Intervals, held against published values, and against chance: so often as they say, the truth lies within."""

import random

import pytest

from tests.conftest import Tried
from wherry.controller.core import intervals
from wherry.controller.core.intervals import Interval
from wherry.protocol.latency import LatencyWindow

CASES = 2000


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_what_was_published(part: int, whole: int, low: float, high: float) -> None:
    found = intervals.share(part, whole, 0.95)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(
    ("before", "after", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),  # R. G. Newcombe, the same, 873-890, table II, method 10
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_gives_what_was_published(
    before: tuple[int, int], after: tuple[int, int], low: float, high: float
) -> None:
    found = intervals.drop(before, after, 0.95)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(("truth", "whole"), [(0.02, 200), (0.1, 50), (0.5, 20), (0.9, 400)])
def test_shares_lie_within_as_often_as_is_said(truth: float, whole: int, tried: Tried) -> None:
    chance = random.Random(1)
    within = 0
    for _ in range(CASES):
        found = intervals.share(sum(chance.random() < truth for _ in range(whole)), whole, 0.95)
        within += found.low <= truth <= found.high
    tried(f"{within / CASES:.1%} of {CASES} intervals held the share {truth} of {whole}")
    assert within / CASES > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, 300])
def test_quantiles_lie_within_as_often_as_is_said(count: int, tried: Tried) -> None:
    """Of an exponential distribution, whose p95 is known; the sketch may be off by 1 %."""
    chance, truth_ms, within = random.Random(2), 10 * 2.995732, 0
    for _ in range(CASES):
        window = LatencyWindow()
        for _ in range(count):
            window.add(chance.expovariate(0.1))
        found = intervals.quantile_ms(window.sketch(), 0.95, 0.95)
        assert found.low <= found.value <= found.high
        within += found.low * 0.99 <= truth_ms <= found.high * 1.01
    tried(f"{within / CASES:.1%} of {CASES} intervals held the p95 of {count} latencies")
    assert within / CASES > 0.93


def test_a_bare_margin_would_not_hold_so_often() -> None:
    """The negative control: the interval of the textbooks, p ± z √(p(1 - p)/n), is too narrow for small numbers."""
    chance, truth, whole, within = random.Random(1), 0.02, 50, 0
    for _ in range(CASES):
        p = sum(chance.random() < truth for _ in range(whole)) / whole
        within += abs(p - truth) <= 1.96 * (p * (1 - p) / whole) ** 0.5
    assert within / CASES < 0.93


def test_nothing_and_all_have_closed_ends() -> None:
    assert intervals.share(0, 5, 0.95).low == 0.0
    assert intervals.share(5, 5, 0.95).high == 1.0


def test_a_ratio_is_as_wide_as_both_ends_allow() -> None:
    found = intervals.ratio(Interval(value=6.0, low=4.0, high=8.0), Interval(value=3.0, low=2.0, high=4.0))
    assert found == Interval(value=2.0, low=1.0, high=4.0)


def test_more_confidence_is_wider() -> None:
    sure, surer = intervals.share(3, 30, 0.9), intervals.share(3, 30, 0.99)
    assert surer.low < sure.low < sure.value < sure.high < surer.high
