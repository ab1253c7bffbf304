"""Verdicts on a candidate, as rows: limits, what was seen, what must be said."""

import msgspec
import pytest

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
