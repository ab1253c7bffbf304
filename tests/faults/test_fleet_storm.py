"""A fleet, its broker and its controller killed again and again while rollouts go on: nothing is lost, all converge.

Every kill is `kill -9` of a process in the middle of a rollout, at a moment that the fleet itself gives: after it has
told so and so much more. The broker keeps nothing on disk, so each of its ends loses every retained message, every
session and whatever was on its way. Afterwards:

- no event is lost and none is kept twice or changed: what each agent wrote down is what the database has;
- no device is on another version than the last one that was completed, by its own record on disk;
- each rollout ended as its version deserved, and each of its steps is in the audit once;
- no device was ordered anything that no rollout decided, and each of those decisions was ordered once;
- all of this holds a minute after the last kill.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.fake_worker import Conduct
from tests.support.light_agent import Temper, is_sick
from tests.support.light_fleet import Storm, storm, version, what_is_wrong
from tests.support.soak import scaled
from tests.support.wait import wait_until
from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import WaveStep

pytestmark = pytest.mark.slow

AGENTS = scaled(20, soak=200)
KILLS_EACH = scaled(2, soak=30)
WINDOW_S = float(scaled(2, soak=10))
"""A large fleet tells as often as it does by default, a small one so often that no wave waits long for its evidence."""

CONVERGE_LIMIT_S = 60.0
ROLLOUT_LIMIT_S = 300.0
EVENT_BYTES = 250
SEED = 5
WAVES = (WaveStep(amount=3), WaveStep(amount=50, percent=True), WaveStep(amount=100, percent=True))
GOOD = Temper()
BAD = (
    Temper(sick=Conduct(errors=50), sick_percent=30),
    Temper(sick=Conduct(fails_test="2 of 3 golden vectors are out of tolerance"), sick_percent=30),
    Temper(sick=Conduct(dies_at="serve"), sick_percent=30),
    Temper(sick=Conduct(silent_at="self-test"), sick_percent=30),
)
"""Healthy on most devices, so that a canary may commit before others fail: errors, a bad test, a crash, silence."""

Tried = Callable[[str], None]


class Voyage:
    """Rollouts one after the other, each with a version of its own; every second one is bad."""

    def __init__(self, at: Storm) -> None:
        self._storm = at
        self.ends: dict[int, str] = {}
        self.serving = self.newest = 0

    def begin(self) -> int:
        """The next rollout, whose end is known beforehand by what its version is."""
        self.newest += 1
        is_good = self.newest % 2 == 1
        temper = GOOD if is_good else BAD[self.newest // 2 % len(BAD)]
        flotilla = self._storm.flotilla
        rollout = flotilla.begin(flotilla.upload(version(self.newest, temper)), waves=WAVES)
        self.ends[rollout] = "completed" if is_good else "reverted"
        self.serving = self.newest if is_good else self.serving
        return rollout

    def is_over(self, rollout: int) -> bool:
        return self._storm.state(rollout) not in LIVE

    def await_end(self, rollout: int, limit_s: float = ROLLOUT_LIMIT_S) -> None:
        wait_until(lambda: self.is_over(rollout), f"rollout {rollout} ends", limit_s)


def _carry_on(at: Storm, voyage: Voyage, rollout: int, more_bytes: int) -> bool:
    """Wait until the fleet has told so much more; False where the rollout ended before."""
    goal = at.fleet.told_bytes() + more_bytes
    what = f"rollout {rollout} moves on or ends"
    wait_until(lambda: voyage.is_over(rollout) or at.fleet.told_bytes() >= goal, what, ROLLOUT_LIMIT_S)
    return not voyage.is_over(rollout)


def _broker_fails(at: Storm) -> None:
    at.kill_broker()
    at.start_broker()


def _controller_fails(at: Storm) -> None:
    at.controller.kill()
    at.controller.start()


def _calm(at: Storm, limit_s: float) -> None:
    wait_until(lambda: at.lagging() == 0 and at.lost() == 0, "every device follows and every event is kept", limit_s)


def _kill_all_along(at: Storm, voyage: Voyage, chance: random.Random) -> tuple[int, float]:
    """Kill both in any order, always while a rollout is live; the live rollout, and when the last kill was."""
    kills = [_broker_fails] * KILLS_EACH + [_controller_fails] * KILLS_EACH
    chance.shuffle(kills)
    rollout, left = voyage.begin(), list(kills)
    while left:
        if _carry_on(at, voyage, rollout, chance.randrange(AGENTS * 2 * EVENT_BYTES)):
            left.pop()(at)
        else:
            rollout = voyage.begin()
    return rollout, time.monotonic()


def test_a_fleet_converges_and_loses_nothing_whatever_is_killed(tmp_path: Path, tried: Tried) -> None:
    with storm(tmp_path, AGENTS, telemetry_window_s=WINDOW_S) as at:
        voyage = Voyage(at)
        first = voyage.begin()
        voyage.await_end(first)
        rollout, last_kill_s = _kill_all_along(at, voyage, random.Random(SEED))
        voyage.await_end(rollout, CONVERGE_LIMIT_S)
        _calm(at, CONVERGE_LIMIT_S - (time.monotonic() - last_kill_s))
        calm_s = time.monotonic() - last_kill_s
        at.fleet.leave()
        assert what_is_wrong(at, voyage.ends, voyage.serving) == []
        ended = list(voyage.ends.values())
        tried(
            f"{AGENTS} agents, {KILLS_EACH} kills of the broker and {KILLS_EACH} of the controller in {len(ended)} "
            f"rollouts, {ended.count('reverted')} of them reverted; {len(at.events())} events, none lost; "
            f"calm {calm_s:.1f} s after the last kill"
        )


def _is_on_trial(at: Storm) -> bool:
    """Whether some canary has all that it needs to commit; before, it waits for blocks of the controller."""
    return any(event.to_phase == "probation" for event in at.fleet.told().values())


def _has_unread_commit(at: Storm) -> bool:
    kept = at.events()
    return any(event.kind == "committed" and key not in kept for key, event in at.fleet.told().items())


def _both_fail(at: Storm, voyage: Voyage) -> int:
    """The controller dies first; then the broker, when it has taken events that nobody has read."""
    rollout = voyage.begin()
    wait_until(lambda: _is_on_trial(at), "a canary is on trial")
    at.controller.kill()
    wait_until(lambda: _has_unread_commit(at), "a canary commits")
    at.kill_broker()
    at.start_broker()
    at.controller.start()
    return rollout


def test_events_that_a_dead_broker_had_taken_for_a_dead_controller_are_told_again(tmp_path: Path) -> None:
    with storm(tmp_path, 6) as at:
        voyage = Voyage(at)
        voyage.await_end(_both_fail(at, voyage))
        _calm(at, CONVERGE_LIMIT_S)
        at.fleet.leave()
        assert what_is_wrong(at, voyage.ends, voyage.serving) == []


def test_events_that_only_a_broker_had_are_found_to_be_lost(tmp_path: Path) -> None:
    """The negative control: agents that forget an event once the broker has acknowledged it."""
    with storm(tmp_path, 6, trusts_the_broker=True) as at:
        voyage = Voyage(at)
        voyage.await_end(_both_fail(at, voyage))
        at.fleet.leave()
        assert any("events were told and are not kept" in problem for problem in what_is_wrong(at, voyage.ends, 1))


def test_agents_that_hear_nothing_after_a_broker_was_killed_are_found(tmp_path: Path) -> None:
    """The negative control: they do not subscribe again, so that what is published again does not reach them."""
    with storm(tmp_path, 6, ignores_repeats=True) as at:
        voyage = Voyage(at)
        voyage.await_end(voyage.begin())
        _broker_fails(at)
        rollout = voyage.begin()
        wait_until(lambda: at.lagging() > 0, "a device is behind")
        with pytest.raises(AssertionError, match="ends"):
            voyage.await_end(rollout, 8.0)
        at.fleet.leave()
        assert what_is_wrong(at, voyage.ends, voyage.serving)


def test_a_step_that_is_in_the_audit_twice_is_found(tmp_path: Path) -> None:
    """The negative control of the verdict: one more promotion, and a document that nobody decided."""
    with storm(tmp_path, 4) as at:
        voyage = Voyage(at)
        voyage.await_end(voyage.begin())
        _calm(at, CONVERGE_LIMIT_S)
        at.fleet.leave()
        at.controller.kill()
        assert what_is_wrong(at, voyage.ends, voyage.serving) == []
        at.change(
            "INSERT INTO audit (at_s, actor, action, subject, detail) SELECT at_s, actor, action, subject, detail"
            " FROM audit WHERE action = 'rollout-promoted' LIMIT 1"
        )
        at.change("UPDATE desired SET generation = generation + 1 WHERE device = 'boat-0001'")
        at.change("DELETE FROM events WHERE device = 'boat-0002' AND kind = 'committed'")
        found = what_is_wrong(at, voyage.ends, voyage.serving)
        assert [
            part for part in ("were opened", "boat-0001", "1 events") if not any(part in line for line in found)
        ] == []


def test_every_fleet_here_has_sick_and_healthy_devices() -> None:
    """Or a bad version would breach nothing."""
    devices = [f"boat-{number:04}" for number in range(1, 21)]
    assert 3 < sum(map(partial(is_sick, percent=30), devices)) < 17
