"""Devices that leave the fleet, and come back, while something is rolled out to them."""

import pytest

from tests.support.depot import Depot
from tests.unit.controller.test_rollouts import asked, complete, start, tick
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.operations import devices, ingest, rollouts
from wherry.controller.operations.rollouts import RolloutView
from wherry.protocol.up import Status


def out(depot: Depot, device: str) -> None:
    devices.decommission(depot.db, device, now_s=depot.now_s, actor="ann")


def back(depot: Depot, device: str) -> None:
    devices.recommission(depot.db, device, now_s=depot.now_s, actor="ann")


def remove(depot: Depot, device: str) -> None:
    devices.remove_device(depot.db, device, now_s=depot.now_s, actor="ann")


def speak(depot: Depot, device: str) -> None:
    ingest.apply_status(depot.db, device, Status(presence="online", session=2), now_s=depot.now_s)


def get(depot: Depot, rollout: int = 2) -> RolloutView:
    return rollouts.get_rollout(depot.db, rollout)


def standings(depot: Depot) -> dict[str, str]:
    return {entry.device: entry.standing for entry in get(depot).devices}


@pytest.fixture
def going(fleet: Depot) -> Depot:
    """Rollout 2 is at all four, and goes on for want of inferences: two have it, two have not answered."""
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, min_inferences=10)
    fleet.commit("pi-1", "pi-2")
    tick(fleet)
    return fleet


def test_one_that_is_taken_in_again_breaks_no_rollout_that_it_was_in(going: Depot) -> None:
    out(going, "pi-4")
    going.commit("pi-3")
    tick(going, 200.0)
    back(going, "pi-4")
    tick(going)
    assert (get(going).state, standings(going)["pi-4"]) == ("running", "removed")


def test_one_that_was_removed_and_speaks_again_breaks_no_rollout_that_it_was_in(going: Depot) -> None:
    remove(going, "pi-4")
    assert asked(going)[:3] == ["digits:2"] * 3
    going.commit("pi-3")
    tick(going, 200.0)
    speak(going, "pi-4")
    tick(going)
    assert (get(going).state, standings(going)["pi-4"]) == ("running", "removed")
    assert asked(going)[3] == "digits:1", "nobody would watch it begin"


def test_what_is_taken_back_from_all_is_not_found_by_one_that_returns(going: Depot) -> None:
    remove(going, "pi-2")
    going.refuse("pi-3", "reverted", "too slow")
    tick(going)
    speak(going, "pi-2")
    assert (get(going).state, asked(going)) == ("reverting", ["digits:1"] * 4)
    going.commit("pi-1", "pi-3", "pi-4")
    tick(going)
    ended = get(going)
    assert ended.state == "reverted"
    assert "3 of 3 devices confirmed" in ended.reason


def test_what_one_was_given_after_its_return_is_not_taken_back_with_the_others(going: Depot) -> None:
    remove(going, "pi-2")
    speak(going, "pi-2")
    start(going, 3, target=Target(devices=("pi-2",)))
    going.refuse("pi-3", "reverted", "too slow")
    tick(going)
    assert asked(going) == ["digits:1", "digits:3", "digits:1", "digits:1"]
