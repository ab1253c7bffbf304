"""Agents that are cut short again and again: each loop ends, says why, and an operator gets out of it."""

import itertools
import random
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Tried
from tests.support.cargo_hold import make_version
from tests.support.controls import found_by
from tests.support.counting_rig import CountingRig, steady
from tests.support.fake_worker import Conduct
from tests.support.soak import scaled
from wherry.agent import steadiness
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.config import SlotConfig
from wherry.agent.core import effects
from wherry.agent.core.boots import BLAME_ALL_AT, BLAME_ATTEMPT_AT, BLAME_INCUMBENT_AT, FIRST_TRIAL_S, STEADY_S
from wherry.agent.core.record import DeviceRecord
from wherry.agent.core.slot import TABLE, Row

pytestmark = pytest.mark.slow

V1, V2, V3 = make_version(1), make_version(2), make_version(3)


@pytest.fixture
def rig(tmp_path: Path) -> CountingRig:
    return steady(tmp_path / "state", V1)


# A version, or a board, that stops the agent


def test_an_incumbent_that_takes_the_board_down_gives_way_to_the_last_good(rig: CountingRig) -> None:
    rig.deploy(2, V2)
    rig.wait(STEADY_S)
    starts = rig.starts_until(lambda: V2.assignment.artifact not in rig.serves())
    assert starts == BLAME_INCUMBENT_AT
    assert rig.serves() == [V1.assignment.artifact]
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.ref, outcome.result) == (V2.assignment.ref, "reverted")
    assert outcome.reason == "the agent stopped 7 times in a row before it had run for 60 s"
    rig.wait(STEADY_S + 1)
    assert rig.store.record.unsteady_boots == 0
    rig.cut().boot()
    assert rig.serves() == [V1.assignment.artifact]


def test_of_several_slots_the_one_that_was_committed_last_is_blamed_first(tmp_path: Path) -> None:
    rig = CountingRig(tmp_path)
    rig.config = msgspec.structs.replace(rig.config, slots={name: SlotConfig() for name in ("aft", "bow", "main")})
    rig.boot()
    number, generation = itertools.count(1), itertools.count(1)
    for slots in (("aft", "bow", "main"), ("bow",), ("aft",), ("main",), ("aft",)):
        versions = [make_version(next(number), slot=slot) for slot in slots]
        for version in versions:
            rig.publish(version)
        rig.want(next(generation), *versions)
        rig.wait(6)
    rig.wait(STEADY_S)
    before = {name: rig.store.record.slot(name).incumbent for name in rig.config.slots}

    def fallen() -> list[str]:
        return [name for name, ref in before.items() if rig.store.record.slot(name).incumbent != ref]

    rig.starts_until(fallen)
    assert fallen() == ["aft"]
    rig.cut().boot()
    assert fallen() == ["aft", "main"]
    rig.cut().boot()
    assert fallen() == ["aft", "bow", "main"]
    assert {slot.state for slot in rig.store.record.slots.values()} == {"running"}
    rig.cut().boot()
    assert {slot.state for slot in rig.store.record.slots.values()} == {"safe-mode"}


def test_a_board_that_dies_with_everything_ends_in_safe_mode_that_an_operator_gets_it_out_of(
    rig: CountingRig,
) -> None:
    starts = rig.starts_until(lambda: rig.slot.state == "safe-mode")
    assert starts == BLAME_ALL_AT
    assert rig.yard.workers == []
    assert rig.events("safe-mode")[0].reason == "the agent stopped 10 times in a row before it had run for 60 s"
    assert rig.reported().slots[0].phase == "safe-mode"
    rig.wait(300)
    assert rig.yard.workers == []
    rig.deploy(2, V2)
    assert rig.serves() == [V2.assignment.artifact]
    rig.wait(2 * STEADY_S)
    assert rig.store.record.unsteady_boots == 0


def test_after_a_steady_time_in_safe_mode_a_start_tries_once_more_and_the_next_does_not(rig: CountingRig) -> None:
    rig.starts_until(lambda: rig.slot.state == "safe-mode")
    for steady_times in (1, 2, 7):
        rig.wait(steady_times * STEADY_S + 1)
        rig.cut().boot()
        assert rig.serves() == [V1.assignment.artifact]
        rig.cut().boot()
        assert rig.yard.workers == []
        assert rig.slot.state == "safe-mode"
    rig.wait(3 * STEADY_S + 1)
    rig.cut().boot()
    rig.wait(STEADY_S + 1)
    assert rig.store.record.unsteady_boots == 0


def _pass(rig: CountingRig, seconds: float) -> None:
    """Time by the minute, in which nothing serves."""
    for _ in range(int(seconds / 60)):
        rig.clock.at_s += 60
        rig.settle()


def test_after_brown_outs_a_board_in_safe_mode_serves_again_without_anybody(rig: CountingRig) -> None:
    rig.starts_until(lambda: rig.slot.state == "safe-mode")
    _pass(rig, FIRST_TRIAL_S - 60)
    assert rig.yard.workers == []
    _pass(rig, 60)
    assert rig.serves() == [V1.assignment.artifact]
    assert rig.store.record.unsteady_boots == BLAME_ALL_AT - 1, "cut now, the next start is in safe mode"
    rig.wait(STEADY_S + 1)
    record = rig.store.record
    assert (rig.slot.state, record.unsteady_boots, record.given_up) == ("running", 0, 0)
    assert rig.slot.quarantine == ()


def test_a_stop_in_good_order_during_a_trial_is_no_failure_of_it(rig: CountingRig) -> None:
    rig.starts_until(lambda: rig.slot.state == "safe-mode")
    _pass(rig, FIRST_TRIAL_S)
    rig.stop().boot()
    assert rig.serves() == [V1.assignment.artifact]
    assert rig.store.record.given_up == 1


def test_a_trial_in_which_the_worker_fails_ends_in_safe_mode_and_a_longer_wait(rig: CountingRig) -> None:
    rig.starts_until(lambda: rig.slot.state == "safe-mode")
    rig.conduct[V1.assignment.artifact] = Conduct(dies_at="load")
    _pass(rig, FIRST_TRIAL_S)
    rig.wait(10 * STEADY_S)
    assert (rig.slot.state, rig.store.record.given_up) == ("safe-mode", 2)
    rig.conduct.clear()
    _pass(rig, 2 * FIRST_TRIAL_S)
    assert rig.serves() == [V1.assignment.artifact]


DAYS = 7


def _trials(rig: CountingRig, days: int) -> int:
    """Trials within some days by an agent that each of them ends."""
    rig.starts_until(lambda: rig.slot.state == "safe-mode")
    trials = 0
    for _ in range(days * 24 * 60):
        _pass(rig, 60)
        if rig.yard.workers:
            trials += 1
            rig.cut().boot()
            assert (rig.slot.state, rig.yard.workers) == ("safe-mode", [])
    return trials


def test_a_board_that_dies_of_every_trial_is_tried_ever_more_seldom(rig: CountingRig, tried: Tried) -> None:
    trials = _trials(rig, DAYS)
    tried(f"{trials} trials in {DAYS} days")
    assert DAYS <= trials <= DAYS + 5


def test_without_growing_waits_it_would_be_tried_every_hour(rig: CountingRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(steadiness, "trial_after_s", lambda _given_up: FIRST_TRIAL_S)
    assert _trials(rig, 1) > 1 + 5


def test_a_version_of_which_nothing_ran_is_not_isolated_for_brown_outs(rig: CountingRig) -> None:
    rig.want(2, V2)  # and its blocks never come
    assert rig.slot.state == "preflight"
    rig.starts_until(lambda: rig.slot.state == "running")
    assert (rig.slot.quarantine, rig.slot.attempt) == ((), None)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.ref, outcome.result) == (V2.assignment.ref, "rejected")
    rig.wait(STEADY_S + 1)
    rig.deploy(3, V2)
    assert rig.serves() == [V2.assignment.artifact]


def test_stops_in_good_order_never_count(rig: CountingRig, tried: Tried) -> None:
    for _ in range(3 * BLAME_ALL_AT):
        rig.stop().boot()
        assert rig.serves() == [V1.assignment.artifact]
        assert rig.store.record.unsteady_boots == 1
    tried(f"{3 * BLAME_ALL_AT} stops in good order within {STEADY_S:g} s")


def test_a_steady_time_is_written_once_and_forgives_all_before(
    rig: CountingRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(BLAME_ATTEMPT_AT):
        rig.cut().boot()
    saved: list[int] = []
    save = RecordFile.save

    def counted(self: RecordFile, record: DeviceRecord) -> None:
        saved.append(record.unsteady_boots)
        save(self, record)

    monkeypatch.setattr(RecordFile, "save", counted)
    rig.wait(STEADY_S - 1)
    assert saved == []
    rig.wait(3 * STEADY_S)
    assert saved == [0]


# Any history

HISTORIES = scaled(6, soak=1000)
STEPS = 25
ODD = (
    Conduct(),
    Conduct(errors=50),
    Conduct(dies_at="load"),
    Conduct(dies_at="serve"),
    Conduct(silent_at="self-test"),
    Conduct(inferences=0),
)


def _live_through(rig: CountingRig, chance: random.Random) -> None:
    """Versions good and bad, workers that die, steady times, power cuts and whole loops of them, in any order."""
    for generation in range(2, 2 + STEPS):
        match chance.randrange(6):
            case 0 | 1:
                version = make_version(chance.randrange(1, 6))
                rig.conduct[version.assignment.artifact] = chance.choice(ODD)
                rig.publish(version)
                rig.want(generation, version)
            case 2:
                rig.wait(chance.choice([1, 5, STEADY_S + 1]))
            case 3:
                for worker in rig.yard.serving:
                    worker.die(-9, "killed by signal 9 (SIGKILL)")
                rig.settle()
            case 4:
                (rig.stop() if chance.random() < 0.3 else rig.cut()).boot()
            case 5:
                for _ in range(chance.randrange(BLAME_ALL_AT + 3)):
                    rig.cut().boot()
                    rig.wait(chance.randrange(4))


def _live_and_be_mended(directory: Path, seed: int) -> None:
    rig = CountingRig(directory / str(seed)).boot()
    rig.deploy(1, V1)
    _live_through(rig, random.Random(seed))
    rig.wait(STEADY_S)
    rig.deploy(STEPS + 10, make_version(9))
    rig.wait(2 * STEADY_S)
    assert rig.serves() == [make_version(9).assignment.artifact], f"seed {seed}: {rig.slot}"
    assert rig.slot.state == "running"
    assert rig.store.record.unsteady_boots == 0
    rig.cut()


def test_whatever_happened_one_good_document_mends_it(tmp_path: Path, tried: Tried) -> None:
    for seed in range(HISTORIES):
        _live_and_be_mended(tmp_path, seed)
    tried(f"{HISTORIES} histories of {STEPS} steps")


def test_a_safe_mode_without_a_way_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setitem(TABLE, ("safe-mode", "assigned"), Row("safe-mode", (effects.refuse,)))
    with found_by("_live_and_be_mended"):
        test_whatever_happened_one_good_document_mends_it(tmp_path, lambda _: None)
