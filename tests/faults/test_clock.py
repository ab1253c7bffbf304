"""Boards whose clock is wrong: in 1970, in the far future, and jumping in the middle of a probation."""

import itertools
import random
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from tests.conftest import Tried
from tests.support.cargo_hold import DEVICE, FLEET, make_version
from tests.support.controls import found_by
from tests.support.fake_worker import Conduct
from tests.support.rig import HandClock, Rig
from tests.support.soak import scaled
from wherry.agent import timekeeper
from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.core.boots import STEADY_S
from wherry.agent.core.record import DeviceRecord
from wherry.agent.core.time_floor import DAY_S, LEAP_S, TimeFloor
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.down import Action

pytestmark = pytest.mark.slow

V1, V2 = make_version(1), make_version(2)
TODAY_S = 1_795_570_000.0
YEAR_S = 365 * DAY_S
NUMBERS = itertools.count()


class OddClock(HandClock):
    """The boot clock is the test's; the wall clock is off by `off_s`, and is kept right where `kept`."""

    def __init__(self) -> None:
        super().__init__()
        self.off_s, self.kept = 0.0, True

    def true_s(self) -> float:
        return TODAY_S + self.at_s

    def wall_s(self) -> float:
        return self.true_s() + self.off_s

    def wake_in_1970(self) -> None:
        self.off_s, self.kept = -self.true_s(), False

    def is_kept_right(self) -> bool:
        return self.kept


class OddRig(Rig):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.clock: OddClock = OddClock()

    @property
    def floor_s(self) -> float:
        """As it is on disk."""
        record = RecordFile(self.store.directory).load()
        return 0.0 if record is None else record.floor_s

    def order(self, not_after_s: float) -> str:
        """How an order to restart ended: `action-done` or `action-refused`."""
        action = Action(id=f"order-{next(NUMBERS)}", kind="restart-slot", not_after_s=not_after_s)
        self.send(topics.down(FLEET, DEVICE, "action"), encode(action))
        answers = [event for kind in ("action-done", "action-refused") for event in self.events(kind)]
        return next(event.kind for event in answers if event.action_id == action.id)

    def lose_a_candidate(self, generation: int) -> None:
        """Something that is saved anyway."""
        newer = make_version(generation, floor="9.0.0")
        self.publish(newer)
        self.want(generation, newer)


@pytest.fixture
def rig(tmp_path: Path) -> OddRig:
    """An agent that serves, and has had the right time for a while."""
    rig = OddRig(tmp_path / "state")
    rig.boot()
    rig.deploy(1, V1)
    rig.wait(STEADY_S + 1)
    return rig


# Orders


def test_an_order_that_is_too_late_looks_no_fresher_in_1970(rig: OddRig) -> None:
    rig.lose_a_candidate(2)
    late_s = rig.clock.true_s() - 60
    rig.clock.wake_in_1970()
    rig.cut().boot()
    assert rig.clock.wall_s() < YEAR_S
    assert rig.order(late_s) == "action-refused"
    assert "after its time, by this device's clock" in rig.events("action-refused")[-1].reason
    assert rig.order(rig.clock.true_s() + 600) == "action-done"


def test_without_a_floor_it_would(rig: OddRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(timekeeper.Timekeeper, "wall_s", lambda self: self._services.clock.wall_s())
    rig.lose_a_candidate(2)
    late_s = rig.clock.true_s() - 60
    rig.clock.wake_in_1970()
    rig.cut().boot()
    assert rig.order(late_s) == "action-done"


def test_the_floor_passes_with_the_boot_clock_while_the_wall_clock_is_in_1970(rig: OddRig) -> None:
    rig.lose_a_candidate(2)
    rig.clock.wake_in_1970()
    rig.cut().boot()
    not_after_s = rig.clock.true_s() + 600
    rig.wait(700)
    assert rig.order(not_after_s) == "action-refused"


def test_a_clock_in_the_future_refuses_orders_and_is_forgotten_once_it_is_mended(rig: OddRig) -> None:
    rig.clock.off_s, rig.clock.kept = 70 * YEAR_S, False
    rig.wait(10)
    rig.lose_a_candidate(2)
    assert rig.order(rig.clock.true_s() + 600) == "action-refused"
    rig.cut().boot()
    rig.clock.off_s, rig.clock.kept = 0.0, True
    assert rig.order(rig.clock.true_s() + 600) == "action-done"
    assert rig.floor_s <= rig.clock.true_s()


def test_a_false_time_server_costs_days_and_not_years(rig: OddRig) -> None:
    rig.clock.off_s = 70 * YEAR_S
    rig.wait(2 * timekeeper.LOOK_EVERY_S, windows=False)
    rig.clock.off_s = 0.0
    ahead_s = rig.floor_s - rig.clock.true_s()
    assert 0 < ahead_s <= 1.1 * LEAP_S
    assert rig.order(rig.clock.true_s() + 600) == "action-refused"
    assert rig.order(rig.clock.true_s() + 1.1 * LEAP_S) == "action-done"


def test_a_crash_loop_under_a_false_time_server_moves_the_floor_by_nothing(rig: OddRig, tried: Tried) -> None:
    rig.lose_a_candidate(2)
    rig.clock.off_s = 70 * YEAR_S
    for generation in range(3, 23):
        rig.cut().boot()
        rig.wait(STEADY_S - 1)
        rig.lose_a_candidate(generation)
    assert rig.floor_s <= rig.clock.true_s()
    tried("20 starts of less than a steady time with the clock 70 years ahead")


# What is written


def _writes(rig: OddRig, monkeypatch: pytest.MonkeyPatch) -> list[DeviceRecord]:
    saved: list[DeviceRecord] = []
    save = RecordFile.save

    def counted(self: RecordFile, record: DeviceRecord) -> None:
        saved.append(record)
        save(self, record)

    monkeypatch.setattr(RecordFile, "save", counted)
    return saved


def test_an_idle_day_is_at_most_one_write_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = OddRig(tmp_path)
    rig.config = msgspec.structs.replace(rig.config, telemetry_window_s=3600.0)
    rig.boot()
    saved = _writes(rig, monkeypatch)
    rig.wait(STEADY_S + 24 * 3600 + 1, windows=False)
    assert 22 <= len(saved) <= 24
    assert [record.floor_s for record in saved] == sorted({record.floor_s for record in saved})
    assert rig.clock.true_s() - 3601 <= rig.floor_s <= rig.clock.true_s()


def test_an_agent_that_never_had_the_time_writes_nothing_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = OddRig(tmp_path)
    rig.config = msgspec.structs.replace(rig.config, telemetry_window_s=3600.0)
    rig.clock.wake_in_1970()
    rig.boot()
    saved = _writes(rig, monkeypatch)
    rig.wait(5 * 3600, windows=False)
    assert saved == []


def test_the_floor_goes_along_with_what_is_saved_anyway(rig: OddRig, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = _writes(rig, monkeypatch)
    rig.wait(600, windows=False)
    assert saved == []
    rig.lose_a_candidate(2)
    assert rig.floor_s == int(rig.clock.true_s())


# Probation


@pytest.mark.parametrize("years", [-56, 70])
def test_a_probation_does_not_notice_that_the_clock_jumps(rig: OddRig, years: int) -> None:
    rig.publish(V2)
    rig.want(2, V2)
    rig.wait(2)
    assert rig.slot.state == "probation"
    rig.clock.off_s = years * YEAR_S
    rig.wait(0.5)
    assert rig.slot.state == "probation", "not ended by it"
    rig.clock.off_s = 0.0
    rig.wait(3)
    assert rig.slot.incumbent == V2.assignment.ref, "and not prolonged"


def test_the_deadline_of_a_probation_is_on_the_boot_clock(rig: OddRig, tried: Tried) -> None:
    """Sixty seconds without a request, while the clock jumps to and fro."""
    chance = random.Random(7)
    rig.conduct[V2.assignment.artifact] = Conduct(inferences=0)
    rig.publish(V2)
    rig.want(2, V2)
    begun_s = rig.clock.at_s
    jumps = 0
    while rig.slot.state == "probation":
        rig.clock.off_s = chance.uniform(-56, 70) * YEAR_S
        rig.wait(1)
        jumps += 1
        assert jumps < 1000
    assert 60 <= rig.clock.at_s - begun_s <= 63
    assert rig.events("reverted")[-1].reason == "0 of 200 inferences within 60 s"
    tried(f"{jumps} jumps of the clock in one probation")


# The floor by itself

Word = tuple[float, float, bool]
WORDS = st.lists(st.tuples(st.floats(0, 40 * DAY_S), st.floats(-60 * YEAR_S, 80 * YEAR_S), st.booleans()), max_size=60)
"""Seconds that pass, how far the clock is off then, and whether the kernel vouches for it."""


@settings(max_examples=scaled(100, soak=20_000), deadline=None, report_multiple_bugs=False)
@given(WORDS)
def test_whatever_the_clocks_say_the_floor_never_falls_and_leaps_little(words: list[Word]) -> None:
    true_s, now_s = TODAY_S, 0.0
    floor = TimeFloor(floor_s=true_s, at_s=now_s)
    for elapsed_s, off_s, kept in words:
        true_s, now_s, before_s = true_s + elapsed_s, now_s + elapsed_s, floor.floor_s
        floor = floor.passed(now_s)
        floor = floor.told(true_s + off_s) if kept else floor
        assert floor.floor_s >= before_s
        assert floor.floor_s - true_s <= LEAP_S * (1 + now_s / DAY_S) + 1


def test_without_a_limit_on_leaps_one_word_would_poison_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(TimeFloor, "told", lambda self, wall_s: msgspec.structs.replace(self, floor_s=wall_s))
    with found_by("test_whatever_the_clocks_say_the_floor_never_falls_and_leaps_little"):
        test_whatever_the_clocks_say_the_floor_never_falls_and_leaps_little()


def test_a_board_that_was_off_for_a_year_catches_up_in_two_weeks() -> None:
    floor = TimeFloor(floor_s=TODAY_S, at_s=0.0)
    wall_s, days = TODAY_S + YEAR_S, 0
    while floor.told(wall_s + days * DAY_S).floor_s < wall_s + days * DAY_S:
        floor = floor.passed(days * DAY_S).told(wall_s + days * DAY_S)
        days += 1
        assert days < 15


def test_the_kernel_says_whether_the_clock_is_kept_right() -> None:
    assert Clock().is_kept_right() in (True, False)
