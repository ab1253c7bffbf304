"""Verdicts on a candidate, as rows: limits, what was seen, what must be said."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.agent.core.growth import MAX_POINTS, Trace, growth
from wherry.agent.core.health import Breach, Commit, Evidence, Unproven, Wait, enough_to_breach, judge
from wherry.protocol.manifest import HealthLimits

MIB = 1024 * 1024
LIMITS = HealthLimits(
    p95_ms=50.0, min_inferences=200, probation_s=60, deadline_s=900, error_share=0.02, worker_memory_bytes=100 * MIB
)
GOOD = Evidence(
    elapsed_s=61,
    inferences=200,
    errors=0,
    p95_ms=0.5,
    incumbent_p95_ms=0.4,
    worker_rss_bytes=60 * MIB,
    broker_reached=True,
)


def _seen(**changes: object) -> Evidence:
    return msgspec.structs.replace(GOOD, **changes)


def test_all_the_evidence_and_no_breach_commits() -> None:
    assert judge(LIMITS, GOOD) == Commit()


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (_seen(inferences=199), "199 of 200 inferences"),
        (_seen(elapsed_s=59.0), "59 of 60 s"),
        (_seen(broker_reached=False), "the broker was not reached since the switch"),
        (_seen(broker_reached=False, elapsed_s=10_000.0), "the broker was not reached since the switch"),
        (
            _seen(broker_reached=False, broker_before=True, elapsed_s=900.0),
            "the broker was not reached since the switch",
        ),
        (_seen(inferences=19, p95_ms=49.0, elapsed_s=1.0), "19 of 200 inferences"),
        (_seen(inferences=20, p95_ms=1.9, incumbent_p95_ms=0.01), "20 of 200 inferences"),
        (_seen(inferences=20, p95_ms=49.0, incumbent_p95_ms=None), "20 of 200 inferences"),
    ],
)
def test_missing_evidence_waits(seen: Evidence, reason: str) -> None:
    assert judge(LIMITS, seen) == Wait(reason)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (
            _seen(inferences=20, p95_ms=41.2, incumbent_p95_ms=0.317, elapsed_s=1.0),
            "p95 41.2 ms is 130 times the incumbent's 0.317 ms, limit 3",
        ),
        (_seen(inferences=20, p95_ms=51.0, incumbent_p95_ms=None), "p95 51 ms, limit 50 ms"),
        (_seen(errors=10, last_error="bad shape"), "10 of 210 inferences failed (4.8%), limit 2.0%; last: bad shape"),
        (_seen(inferences=0, errors=20), "20 of 20 inferences failed (100.0%), limit 2.0%"),
        (_seen(inferences=0, worker_rss_bytes=120 * MIB), "the worker holds 120.0 MiB, limit 100.0"),
    ],
)
def test_a_breach_names_number_limit_and_comparison(seen: Evidence, reason: str) -> None:
    assert judge(LIMITS, seen) == Breach(reason)


def test_want_of_evidence_in_all_the_time_is_no_breach() -> None:
    late = _seen(inferences=3, elapsed_s=901.0)
    assert judge(LIMITS, late) == Unproven("3 of 200 inferences within 900 s")
    assert judge(LIMITS, msgspec.structs.replace(late, remark="no file")) == Unproven(
        "3 of 200 inferences within 900 s; feed: no file"
    )


def test_what_was_committed_here_before_needs_no_new_proof_but_may_still_breach() -> None:
    back = msgspec.structs.replace(_seen(inferences=0, elapsed_s=901.0), committed_before=True)
    assert judge(LIMITS, back) == Commit()
    assert isinstance(judge(LIMITS, msgspec.structs.replace(back, elapsed_s=899.0)), Wait)
    assert isinstance(judge(LIMITS, msgspec.structs.replace(back, errors=20)), Breach)


def test_a_breach_needs_no_more_evidence_than_a_third_of_the_commit() -> None:
    assert enough_to_breach(HealthLimits(min_inferences=9)) == 3
    assert enough_to_breach(HealthLimits(min_inferences=0)) == 1
    assert enough_to_breach(HealthLimits(min_inferences=10_000)) == 20


def test_a_broker_that_was_in_reach_before_and_stays_away_takes_the_version_back_without_blame() -> None:
    away = _seen(broker_reached=False, broker_before=True, elapsed_s=900.1)
    reason = "the broker, in reach before the switch, was not reached within 900 s"
    assert judge(LIMITS, away) == Unproven(reason)
    assert isinstance(judge(LIMITS, msgspec.structs.replace(away, broker_reached=True)), Commit)
    assert isinstance(judge(LIMITS, msgspec.structs.replace(away, committed_before=True)), Wait)


def _climb(total_bytes: int, *, windows: int = 30, until: float = 1.0) -> tuple[tuple[float, int], ...]:
    """A worker that gains `total_bytes` over its windows, and no more from the share `until` of them on."""
    return tuple(
        (float(i), 50 * MIB + int(total_bytes * min(i / (windows - 1), until) / until)) for i in range(windows)
    )


@pytest.mark.parametrize(
    ("memory", "leaks"),
    [
        (_climb(24 * MIB), True),
        (_climb(12 * MIB), False),
        (_climb(200 * MIB, until=0.5), False),
        (_climb(200 * MIB, windows=8), True),
        (_climb(200 * MIB, windows=7), False),
        (_climb(-200 * MIB), False),
        ((), False),
        (((1.0, 50 * MIB),) * 30, False),
    ],
    ids=["climbs", "below", "levels off", "fast", "few windows", "shrinks", "nothing", "no time"],
)
def test_a_leak_is_a_growth_beyond_the_limit_that_goes_on(memory: tuple[tuple[float, int], ...], leaks: bool) -> None:
    found = judge(LIMITS, _seen(memory=memory))
    assert isinstance(found, Breach) is leaks
    unlimited = msgspec.structs.replace(LIMITS, worker_growth_bytes=None)
    assert judge(unlimited, _seen(memory=memory)) == Commit()


def test_a_leak_is_told_with_its_size_and_time() -> None:
    assert judge(LIMITS, _seen(memory=_climb(29 * MIB))) == Breach(
        "the worker grew by 23.0 MiB in 23 s and goes on, limit 16.0"
    )


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3 * MIB), min_size=10, max_size=60),
    st.integers(0, 2**33),
)
def test_a_worker_that_only_wavers_never_leaks(waves: list[int], base: int) -> None:
    found = growth([(float(i), base + wave) for i, wave in enumerate(waves)])
    assert found is not None
    assert abs(found.gained_bytes) <= 3 * MIB * len(waves)
    assert not isinstance(judge(LIMITS, _seen(memory=_noisy(waves))), Breach)


def _noisy(waves: list[int]) -> tuple[tuple[float, int], ...]:
    """Waves about one level, in an order that leans nowhere: each is followed by its opposite."""
    levels = [level for wave in waves for level in (50 * MIB + wave, 50 * MIB - wave)]
    return tuple((float(i), level) for i, level in enumerate(levels))


def test_memory_is_kept_thin_however_long_the_probation(tried: Callable[[str], None]) -> None:
    trace = Trace()
    for second in range(10_000):
        trace.add(float(second), second * 1000)
        assert len(trace.points) <= MAX_POINTS
    found = growth(trace.points)
    assert found is not None
    assert found.goes_on
    assert found.gained_bytes == pytest.approx(8_000_000, rel=0.1)
    tried("10,000 windows of one probation")
