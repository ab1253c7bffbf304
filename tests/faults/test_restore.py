"""A controller whose disk is gone, restored from a backup that is older than what its fleet has done since.

The controller, its broker and the agents are real. The backup is taken by the command while the controller works; then
a rollout moves every device on, so that each has accepted a document that the backup knows nothing of. After `wherry
restore` the fleet must be with the restored controller, without anybody touching a device: back on what that wants, and
ready for the next rollout.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.light_agent import Temper
from tests.support.light_fleet import Storm, storm, version
from tests.support.soak import scaled
from tests.support.wait import wait_until
from tests.support.wherry_command import wherry
from wherry.controller.core.plan import FULL_FLEET, WaveStep

pytestmark = pytest.mark.slow

AGENTS = scaled(4, soak=100)
FOLLOW_LIMIT_S = 60.0
HOPELESS_S = 4.0
"""As long as a fleet of this size has had time to follow several times over, and does not."""

WAVES = (WaveStep(amount=1), WaveStep(amount=100, percent=True))
GOOD = Temper()

Tried = Callable[[str], None]


class Wreck:
    """A storm whose controller loses its data directory after a backup."""

    def __init__(self, at: Storm, directory: Path) -> None:
        self._at, self._backup = at, directory / "backup.tar"

    def roll_out(self, number: int) -> str:
        """The version everywhere; its name."""
        flotilla = self._at.flotilla
        name = flotilla.upload(version(number, GOOD))
        flotilla.await_end(flotilla.begin(name, waves=FULL_FLEET), "completed")
        self.await_serving(name)
        return name

    def await_serving(self, name: str, limit_s: float = FOLLOW_LIMIT_S) -> None:
        """Wait until every device says that it serves the version, and has accepted what is wanted of it.

        A restored database has old sayings; none of them is of a document in the new epoch.
        """

        def follows() -> bool:
            return set(self._at.flotilla.serving().values()) == {name} and self._at.lagging() == 0

        wait_until(follows, f"every device follows and serves {name}", limit_s)

    def back_up(self) -> None:
        """By the command, of the controller at work."""
        said = wherry("backup", self._backup, "--data-dir", self._at.controller.data_dir)
        assert said.status == 0, said.err

    def lose_everything(self) -> None:
        self._at.controller.kill()
        shutil.rmtree(self._at.controller.data_dir)

    def restore(self) -> dict[str, object]:
        said = wherry("restore", self._backup, "--data-dir", self._at.controller.data_dir, "--json")
        assert said.status == 0, said.err
        return dict(said.json)

    def orders(self) -> dict[str, tuple[int, int]]:
        rows = self._at.rows("SELECT device, epoch, generation FROM desired")
        return {device: (epoch, generation) for device, epoch, generation in rows}

    def await_published(self) -> None:
        """Wait until the broker has acknowledged every document as it stands."""
        waiting = "SELECT count(*) FROM desired WHERE (published_epoch, published_generation) != (epoch, generation)"
        wait_until(lambda: self._at.rows(waiting) == [(0,)], "every document is published")


def test_a_fleet_that_has_moved_on_follows_the_restored_controller(tmp_path: Path, tried: Tried) -> None:
    with storm(tmp_path, AGENTS) as at:
        wreck = Wreck(at, tmp_path)
        first = wreck.roll_out(1)
        wreck.back_up()
        second = wreck.roll_out(2)
        newest = max(wreck.orders().values())
        wreck.lose_everything()
        done = wreck.restore()
        assert (done["ordered"], done["paused"]) == (AGENTS, [])
        assert min(wreck.orders().values()) > newest
        begun_s = time.monotonic()
        at.controller.start()
        wreck.await_serving(first)
        followed_s = time.monotonic() - begun_s
        assert wreck.roll_out(2) == second, "it was registered after the backup, so its number is free again"
        at.fleet.leave()
        assert {slot.incumbent.version for slot in at.fleet.slots().values() if slot.incumbent} == {2}
        tried(f"{AGENTS} agents were back on the version of the backup {followed_s:.1f} s after the start")


def test_a_rollout_that_the_backup_has_half_done_waits_and_is_carried_on_with(tmp_path: Path) -> None:
    """After the backup it completed; resumed, it completes on the restored controller, too."""
    with storm(tmp_path, AGENTS) as at:
        wreck = Wreck(at, tmp_path)
        first = wreck.roll_out(1)
        name = at.flotilla.upload(version(2, GOOD))
        rollout = at.flotilla.begin(name, waves=WAVES, soak_s=3600.0)
        wait_until(lambda: name in at.flotilla.serving().values(), "the canary serves it", FOLLOW_LIMIT_S)
        wreck.back_up()
        at.flotilla.post(f"/rollouts/{rollout}/abort", {"restore": "revert"})
        wreck.await_serving(first)
        wreck.lose_everything()
        assert wreck.restore()["paused"] == [rollout]
        at.controller.start()
        wait_until(lambda: at.lagging() == 0, "every device follows", FOLLOW_LIMIT_S)
        wait_until(lambda: name in at.flotilla.serving().values(), "the canary serves it again", FOLLOW_LIMIT_S)
        assert at.flotilla.rollout(rollout)["state"] == "paused"
        at.flotilla.post(f"/rollouts/{rollout}/resume")
        at.flotilla.post(f"/rollouts/{rollout}/promote", {"wave": 2})
        wreck.await_serving(name)


NOT_ANEW = (
    "UPDATE meta SET value = '1' WHERE key = 'epoch'",
    "UPDATE desired SET epoch = 1, generation = 1",
    """CREATE TRIGGER never_anew AFTER UPDATE OF generation ON desired
    BEGIN UPDATE desired SET epoch = 1, generation = 1 WHERE device = NEW.device; END""",
)
"""As the backup had it, and no document is ordered anew where a device is found to be ahead of it."""


def test_a_fleet_that_does_not_follow_is_found(tmp_path: Path) -> None:
    """The negative control: without a new epoch, and without overtaking a device that reports a newer document."""
    with storm(tmp_path, AGENTS) as at:
        wreck = Wreck(at, tmp_path)
        first = wreck.roll_out(1)
        wreck.back_up()
        second = wreck.roll_out(2)
        wreck.lose_everything()
        wreck.restore()
        for statement in NOT_ANEW:
            at.change(statement)
        at.controller.start()
        heard = "the controller has heard what the devices serve"
        wait_until(lambda: set(at.flotilla.serving().values()) == {second}, heard, FOLLOW_LIMIT_S)
        wreck.await_published()
        with pytest.raises(AssertionError, match="follows"):
            wreck.await_serving(first, HOPELESS_S)
        assert set(at.flotilla.serving().values()) == {second}
