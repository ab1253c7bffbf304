"""The beat of a feed, on a clock that the test moves."""

import pytest

from wherry.agent.feeder.pacing import Pacer


def beats(pacer: Pacer, until_s: float, cost_s: float = 0.0, start_s: float = 0.0) -> int:
    """How many beats are answered before `until_s`, by someone who needs `cost_s` for each."""
    now_s, count = start_s, 0
    while max(now_s, pacer.due_s) < until_s:
        now_s = max(now_s, pacer.due_s)
        pacer.advance(now_s)
        now_s += cost_s
        count += 1
    return count


@pytest.mark.parametrize("cost_s", [0.0, 0.01, 0.09])
def test_the_rate_holds_whatever_an_answer_costs_below_a_period(cost_s: float) -> None:
    assert beats(Pacer(10.0, 0.0), 100.0, cost_s) == pytest.approx(1000, abs=1)


def test_being_a_little_late_each_time_does_not_add_up() -> None:
    pacer = Pacer(10.0, 0.0)
    count = 0
    while pacer.due_s < 100.0:
        pacer.advance(pacer.due_s + 0.03)
        count += 1
    assert count == pytest.approx(1000, abs=1)


def test_a_slow_answerer_works_without_a_pause() -> None:
    assert beats(Pacer(10.0, 0.0), 30.0, cost_s=0.3) == pytest.approx(100, abs=1)


def test_what_was_missed_in_a_stall_is_not_caught_up() -> None:
    pacer = Pacer(10.0, 0.0)
    assert beats(pacer, 1.0) == pytest.approx(10, abs=1)
    assert beats(pacer, 61.0, start_s=60.0) == pytest.approx(10, abs=2)


def test_a_rest_delays_the_next_beat() -> None:
    pacer = Pacer(100.0, 0.0)
    pacer.rest(5.0, 1.0)
    assert pacer.due_s == 6.0
