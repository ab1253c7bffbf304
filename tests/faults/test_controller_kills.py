"""Controller and broker killed in the middle of a rollout: it is carried on as if nothing had been."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import dense_versions
from tests.support.cargo_hold import FLEET
from tests.support.flotilla import LIMIT_S, Flotilla, sailing
from tests.support.lookout import looking
from tests.support.soak import SOAKING
from tests.support.wait import wait_until
from wherry.controller.core.plan import WaveStep
from wherry.protocol import topics
from wherry.protocol.manifest import HealthLimits

pytestmark = pytest.mark.slow

BOATS = ("boat-1", "boat-2")
PATIENT = HealthLimits(min_inferences=20, probation_s=1, deadline_s=60, p95_ratio=1000)
V1 = dense_versions.make(1, PATIENT)
WAVES = (WaveStep(amount=1), WaveStep(amount=100, percent=True))


def _in_wave(fleet: Flotilla, rollout: int, wave: int) -> str:
    return str(next(entry["device"] for entry in fleet.rollout(rollout)["devices"] if entry["wave"] == wave))


def _check_end(fleet: Flotilla, rollout: int) -> None:
    """Completed as if nothing had happened: each board fetched the version once, each wave was opened once."""
    done = fleet.await_end(rollout, "completed")
    assert done["counts"] == {"committed": 2}
    assert fleet.serving() == dict.fromkeys(BOATS, "dense:1")
    told = [row["action"] for row in fleet.get("/audit") if row["action"].startswith("rollout")]
    assert told == ["rollout-completed", "rollout-promoted", "rollout-started"]
    for boat in BOATS:
        _check_once(boat, functools.partial(fleet.logged, boat))
    fleet.await_cleared()


def _check_told(fleet: Flotilla) -> None:
    """The broker has lived on, and kept every event for the controller."""
    for boat in BOATS:
        _check_once(boat, functools.partial(fleet.events, boat))


def _check_once(boat: str, happened: Callable[[str], list[Any]]) -> None:
    # The report that ends the rollout may overtake what tells the same.
    wait_until(lambda: happened("committed"), f"{boat} tells that it committed", LIMIT_S)
    assert len(happened("committed")) == 1
    assert [entry["to_phase"] for entry in happened("transition")].count("download") == 1


@pytest.mark.parametrize("kind", ["mosquitto", "external"] if SOAKING else ["external"])
def test_a_controller_killed_in_a_rollout_carries_on_when_it_is_started_again(tmp_path: Path, kind: str) -> None:
    with sailing(tmp_path, kind) as fleet:
        fleet.launch(*BOATS)
        rollout = fleet.begin(fleet.upload(V1), waves=WAVES)
        fleet.await_phase(_in_wave(fleet, rollout, 1), "probation")
        fleet.controller.kill()
        before = fleet.controller.started
        after = fleet.controller.start()
        assert (after.url, after.mqtt_port) == (before.url, before.mqtt_port)
        _check_end(fleet, rollout)
        _check_told(fleet)


def test_a_controller_on_postgresql_killed_in_a_rollout_carries_on(
    tmp_path: Path, new_database: Callable[[], str]
) -> None:
    """And has a broker of its own, which lives on; on SQLite that is left to `make soak`."""
    with sailing(tmp_path, "mosquitto", database=new_database()) as fleet:
        fleet.launch(*BOATS)
        rollout = fleet.begin(fleet.upload(V1), waves=WAVES)
        fleet.await_phase(_in_wave(fleet, rollout, 1), "probation")
        fleet.controller.kill()
        before = fleet.controller.started
        after = fleet.controller.start()
        assert (after.url, after.mqtt_port) == (before.url, before.mqtt_port)
        _check_end(fleet, rollout)
        _check_told(fleet)
        assert not list(fleet.controller.data_dir.glob("controller.db*"))


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_a_broker_killed_in_a_rollout_is_started_again_and_told_everything(tmp_path: Path, kind: str) -> None:
    """Events that a board says before the controller is back are lost with its session: boards are asked themselves."""
    with sailing(tmp_path, kind) as fleet:
        fleet.launch(*BOATS)
        rollout = fleet.begin(fleet.upload(V1), waves=WAVES)
        first, second = (_in_wave(fleet, rollout, wave) for wave in (1, 2))
        with fleet.asleep(second):
            fleet.await_phase(first, "download", "verify", "self-test", "switch", "probation")
            killed = fleet.controller.broker
            killed.kill()
            wait_until(lambda: fleet.get("/status")["broker"]["connections"] >= 2, "a second session", LIMIT_S)
            fleet.await_published(V1)
            assert fleet.controller.broker.pid != killed.pid
            # The documents follow the blocks, and amqtt retains what it has acknowledged a moment later.
            wanted = set(V1.messages()) - _manifest_topics() | {topics.down(FLEET, first, "desired")}
            with looking(fleet.mqtt_port) as lookout:
                everything = f"{topics.ROOT}/{FLEET}/#"
                wait_until(lambda: wanted <= lookout.retained(everything).keys(), "the broker is told all", LIMIT_S)
        _check_end(fleet, rollout)
        assert fleet.controller.stop() == 0


def test_a_controller_killed_while_nothing_runs_clears_what_it_had_published(tmp_path: Path) -> None:
    """The rollout is aborted while its blocks lie on the broker of somebody else, and the controller dies."""
    with sailing(tmp_path, "external", tick_s=30.0) as fleet:
        fleet.launch("boat-1")
        rollout = fleet.begin(fleet.upload(V1), paused=True)
        fleet.await_published(V1)
        fleet.controller.kill()
        fleet.controller.start()
        fleet.post(f"/rollouts/{rollout}/abort", {})
        fleet.await_cleared()


def _manifest_topics() -> set[str]:
    """The numbered manifest is another one than the test's."""
    return {topics.block(FLEET, V1.assignment.manifest.digest, 0)}
