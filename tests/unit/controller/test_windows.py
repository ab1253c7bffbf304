"""Maintenance windows by the clocks of several places, also on the nights on which those are moved."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from wherry.controller.core.plan import Window
from wherry.controller.core.windows import check, is_open, next_opening
from wherry.controller.errors import Invalid

BERLIN = "Europe/Berlin"
NIGHT = (Window(begin="22:00", end="05:00", zone=BERLIN, days=("mon", "tue")),)
NOON = (Window(begin="12:00", end="13:00"),)


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("when", "is_in"),
    [
        ("2026-11-23T21:59:59", False),
        ("2026-11-23T22:00:00", True),  # a Monday
        ("2026-11-24T04:59:59", True),
        ("2026-11-24T05:00:00", False),
        ("2026-11-25T03:00:00", True),  # begun on Tuesday
        ("2026-11-25T23:00:00", False),  # nothing begins on Wednesday
        ("2026-11-29T23:00:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(when: str, is_in: bool) -> None:
    assert is_open(NIGHT, at(when)) is is_in


def test_without_windows_it_is_always_open() -> None:
    assert is_open((), 0.0)
    assert next_opening((), 0.0) is None


def test_any_of_several_windows_is_enough() -> None:
    windows = (*NIGHT, *NOON)
    assert is_open(windows, at("2026-11-26T12:30", "UTC"))
    assert is_open(windows, at("2026-11-24T23:30"))
    assert not is_open(windows, at("2026-11-26T11:30", "UTC"))


def test_the_next_opening_is_said_in_the_time_of_its_place() -> None:
    now_s = at("2026-11-25T06:00")
    assert next_opening(NIGHT, now_s) == (at("2026-11-30T22:00"), "Mon 22:00 Europe/Berlin")
    assert next_opening((*NIGHT, *NOON), now_s) == (at("2026-11-25T12:00", "UTC"), "Wed 12:00 UTC")


def test_the_same_window_begins_an_hour_earlier_for_the_world_once_summer_comes() -> None:
    winter, summer = at("2027-03-27T22:00"), at("2027-03-28T22:00")
    assert summer - winter == 23 * 3600
    every_night = (Window(begin="22:00", end="23:00", zone=BERLIN),)
    assert is_open(every_night, winter)
    assert is_open(every_night, summer)
    assert not is_open(every_night, winter + 24 * 3600)


def test_an_hour_that_is_left_out_opens_nothing_for_longer() -> None:
    """At 02:00 it is 03:00 at once on 28 March 2027 in Berlin."""
    skipped = (Window(begin="02:00", end="02:30", zone=BERLIN),)
    openings = [minute for minute in range(-120, 240) if is_open(skipped, at("2027-03-28T01:00") + minute * 60)]
    assert len(openings) == 30


def test_an_hour_that_comes_twice_is_open_both_times() -> None:
    """At 03:00 it is 02:00 again on 31 October 2027 in Berlin."""
    twice = (Window(begin="02:00", end="03:00", zone=BERLIN),)
    first = at("2027-10-31T02:00")
    assert [is_open(twice, first + minute * 60) for minute in (-1, 0, 59, 60, 119, 120)] == [
        False, True, True, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "x" * 64])
def test_a_zone_that_nobody_knows_is_said(zone: str) -> None:
    with pytest.raises(Invalid, match="no time zone") as caught:
        check((Window(begin="01:00", end="02:00", zone=zone),))
    assert "Europe/Berlin" in caught.value.fix


def test_a_window_without_days_is_refused() -> None:
    with pytest.raises(Invalid, match="on no day"):
        check((Window(begin="01:00", end="02:00", days=()),))
