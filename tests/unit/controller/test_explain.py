"""What a plan would do, in words: every gate that is on, how it is sent, and when each wave can begin."""

from datetime import UTC, datetime

from tests.support.controller_values import make_birth, make_plan, make_variant
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.explain import earliest, explain, sending_of
from wherry.controller.core.plan import Window
from wherry.controller.core.targeting import cut

MONDAY_NOON_S = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
NIGHT = Window(begin="02:00", end="05:00", zone="Europe/Berlin", days=("mon", "tue"))


def test_a_wave_begins_after_those_before_were_sent_and_watched() -> None:
    plan = make_plan(soak_s=30.0, max_sends_per_minute=10)
    assert earliest(plan, [1, 10, 11, 1], None) == [
        "", "not before 30 s from now", "not before 60 s from now", "not before 150 s from now"
    ]  # fmt: skip


def test_a_wave_begins_within_a_window() -> None:
    plan = make_plan(soak_s=86400.0, windows=(NIGHT,))
    assert earliest(plan, [1, 1], MONDAY_NOON_S) == [
        "not before Tue 02:00 Europe/Berlin", "not before Mon 02:00 Europe/Berlin"
    ]  # fmt: skip


def test_a_wave_that_needs_no_waiting_says_nothing() -> None:
    assert earliest(make_plan(), [1, 1], MONDAY_NOON_S) == ["", ""]


def test_all_ways_of_sending_are_told_and_none_of_a_plain_plan() -> None:
    assert sending_of(make_plan()) == []
    plan = make_plan(windows=(NIGHT,), max_sends_per_minute=10, retries={"download": 2}, late_joiners="join")
    assert sending_of(plan) == [
        "from 02:00 to 05:00 Europe/Berlin on mon, tue",
        "to 10 devices a minute at most",
        "2 more times to a device that failed in download, 60 s later",
        "also to devices that join the target later",
    ]


def test_of_ten_thousand_devices_the_first_of_each_wave_are_named_and_the_others_counted() -> None:
    fleet = [Candidate(device=f"pi-{number}", online=True, birth=make_birth()) for number in range(10_000)]
    fleet += [Candidate(device=f"no-{number}", online=True, birth=make_birth(slots=("other",))) for number in range(30)]
    plan, variants = make_plan(), (make_variant("a"),)
    text = explain(plan, variants, fleet, cut(plan, variants, fleet, "1"), max_lines=3)
    assert len(text.splitlines()) < 40
    assert "wave 2 of 3: 4999 devices\n" in text
    assert "  and 4996 more\n" in text
    assert "not sent to 30 devices:\n" in text
    assert text.endswith("  and 27 more\n")


def test_every_gate_that_is_on_is_told_and_none_that_is_off() -> None:
    limits = {"max_memory_ratio": 1.5, "max_prediction_psi": 0.25, "min_agreement": 0.8, "min_accuracy": 0.9,
              "max_accuracy_drop": 0.02,
              "wave_deadline_s": 60.0, "deadline_s": 600.0, "max_p95_ratio": 2.0}  # fmt: skip
    fleet, variants = [Candidate(device="pi-1", online=True, birth=make_birth())], (make_variant("a"),)
    words = (
        "memory",
        "stability index",
        "answered as by that before",
        "labelled",
        "accuracy is lower",
        "wave is not through",
        "rollout has not",
        "p95",
    )
    for plan, on in ((make_plan(**limits), True), (make_plan(wave_deadline_s=None), False)):
        text = explain(plan, variants, fleet, cut(plan, variants, fleet, "1"))
        assert [word in text for word in words] == [on] * len(words)
