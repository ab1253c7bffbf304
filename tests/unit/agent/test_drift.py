"""Drift by its two witnesses, as rows: how the incumbent answered, what the reference says, what the candidate does."""

import msgspec
import pytest

from wherry.agent.core.drift import Baseline, drifted
from wherry.agent.core.health import Breach, Commit, Evidence, judge
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.profile import Profile

LIMITS = HealthLimits()
SURE, UNSURE = (0, 0, 0, 0, 0, 0, 5, 5, 10, 80), (10, 30, 30, 20, 10, 0, 0, 0, 0, 0)
EVEN, SKEWED, MIXED, OTHERWISE, ONE, OTHER_ONE = (
    (250, 250, 250, 250), (900, 50, 25, 25), (100, 200, 300, 400), (25, 25, 50, 900), (1000, 0, 0, 0), (0, 0, 0, 1000),
)  # fmt: skip
Counts = tuple[int, ...]


def _profile(counts: Counts, sure: Counts = SURE, scale: int = 1) -> Profile:
    return Profile(
        samples=sum(counts) // scale,
        predictions={index: count // scale for index, count in enumerate(counts) if count},
        confidence=tuple(10 * count // scale for count in sure),
    )


def _baseline(counts: Counts, sure: Counts = SURE) -> Baseline:
    return msgspec.convert(msgspec.to_builtins(_profile(counts, sure)), Baseline, strict=False)


@pytest.mark.parametrize(
    ("before", "shown", "seen", "is_drift"),
    [
        (EVEN, EVEN, EVEN, False),
        (EVEN, EVEN, ONE, True),
        (EVEN, None, ONE, True),
        (SKEWED, EVEN, MIXED, False),  # another scene, and nothing the evaluation data did not have
        (SKEWED, EVEN, OTHERWISE, True),  # turned over, and unlike the evaluation data too: labels in another order?
        (SKEWED, EVEN, OTHER_ONE, True),
        (SKEWED, None, OTHERWISE, False),  # another scene, as many classes
        (ONE, EVEN, EVEN, False),  # mends a collapsed incumbent
        (ONE, None, EVEN, False),
        (ONE, None, SKEWED, False),
        (ONE, EVEN, ONE, False),  # a quiet scene stays quiet
        (EVEN, ONE, ONE, True),  # collapsed in its training: the reference agrees, and is not heard
        (None, EVEN, ONE, False),  # a first version on a quiet board
        (None, None, ONE, False),
    ],
)
def test_predictions_drift_where_they_are_unlike_both(
    before: Counts | None, shown: Counts | None, seen: Counts, is_drift: bool
) -> None:
    incumbent = None if before is None else _baseline(before)
    found = drifted(LIMITS, _profile(seen), incumbent, None if shown is None else _profile(shown))
    assert (found is not None) is is_drift, found
    assert found is None or found.startswith("predictions drifted")


@pytest.mark.parametrize(
    ("before", "shown", "seen", "is_drift"),
    [
        (SURE, SURE, UNSURE, True),
        (SURE, None, UNSURE, True),
        (UNSURE, None, SURE, False),  # a better model
        (UNSURE, UNSURE, SURE, True),  # surer than its own reference says it is
        (UNSURE, SURE, SURE, False),
        (SURE, UNSURE, UNSURE, False),
        (None, SURE, UNSURE, False),
    ],
)
def test_confidence_drifts_where_it_is_unlike_both(
    before: Counts | None, shown: Counts | None, seen: Counts, is_drift: bool
) -> None:
    incumbent = None if before is None else _baseline(EVEN, before)
    found = drifted(LIMITS, _profile(EVEN, seen), incumbent, None if shown is None else _profile(EVEN, shown))
    assert (found is not None) is is_drift, found
    assert found is None or found.startswith("confidence drifted")


def test_a_first_version_drifts_where_both_measures_are_out() -> None:
    found = drifted(LIMITS, _profile(ONE, UNSURE), None, _profile(EVEN, SURE))
    assert found is not None
    assert "predictions drifted" in found
    assert "confidence drifted" in found


def test_too_few_on_any_side_are_not_judged() -> None:
    few = LIMITS.drift_min_inferences - 1
    least = HealthLimits(drift_min_inferences=1000)
    assert drifted(least, _profile(ONE), _baseline(EVEN), None) is not None
    assert drifted(LIMITS, msgspec.structs.replace(_profile(ONE), samples=few), _baseline(EVEN), None) is None
    short = msgspec.structs.replace(_baseline(EVEN), samples=few)
    assert drifted(LIMITS, _profile(ONE), short, None) is None
    weak = msgspec.structs.replace(_profile(EVEN), samples=few)
    assert drifted(LIMITS, _profile(ONE), None, weak) is None


def test_the_limit_is_moved_by_what_chance_may_do_and_either_can_be_switched_off() -> None:
    found = drifted(LIMITS, _profile(ONE), _baseline(EVEN), _profile(EVEN))
    assert found is not None
    assert "limit 1 and 0.033 for chance" in found
    clumped = msgspec.structs.replace(_baseline(EVEN), prediction_clumping=500.0)
    assert drifted(LIMITS, _profile(ONE), clumped, _profile(EVEN)) is None
    off = HealthLimits(prediction_psi=None)
    assert drifted(off, _profile(ONE), _baseline(EVEN), _profile(EVEN)) is None
    both = _profile(ONE, UNSURE)
    assert drifted(off, both, _baseline(EVEN), _profile(EVEN)) is not None
    assert drifted(HealthLimits(prediction_psi=None, confidence_shift=None), both, _baseline(EVEN), None) is None


@pytest.mark.parametrize("odd", [(1,), (5,) * 9, ()])
def test_a_confidence_in_other_bins_is_nobody_s_measure(odd: Counts) -> None:
    strange = Profile(samples=1000, predictions=dict.fromkeys(range(4), 250), confidence=odd)
    assert drifted(LIMITS, _profile(EVEN, UNSURE), _baseline(EVEN, SURE), strange) is not None
    assert drifted(LIMITS, strange, _baseline(EVEN), _profile(EVEN)) is None


def test_a_model_without_classes_does_not_drift() -> None:
    assert drifted(LIMITS, Profile(samples=5000), _baseline(EVEN), _profile(EVEN)) is None


def test_drift_is_a_breach_that_names_numbers_limit_and_comparison() -> None:
    seen = Evidence(
        elapsed_s=10, inferences=1000, errors=0, p95_ms=1.0, incumbent_p95_ms=1.0, worker_rss_bytes=1,
        broker_reached=True, answers=_profile(ONE), incumbent=_baseline(EVEN), reference=_profile(EVEN),
    )  # fmt: skip
    assert judge(LIMITS, seen) == Breach(
        "predictions drifted: class 0 is 100.0% of 1000; PSI 5.69 from the incumbent's 1000 and 5.69 from the "
        "reference's 1000, limit 1 and 0.033 for chance"
    )
    healthy = msgspec.structs.replace(seen, answers=_profile(EVEN), elapsed_s=61)
    assert judge(LIMITS, healthy) == Commit()
