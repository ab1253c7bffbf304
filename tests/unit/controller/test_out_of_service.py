"""Devices that leave the fleet, and come back, while something is rolled out to them."""

from typing import Any

import pytest

from tests.support.depot import Depot
from tests.unit.controller.test_rollouts import asked, complete, start, tick
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.core.standing import GONE
from wherry.controller.errors import Conflict
from wherry.controller.operations import devices, ingest, retry, rollouts, steering
from wherry.controller.operations.documents import Orders
from wherry.controller.operations.rollouts import RolloutView
from wherry.controller.store.tables import DeviceRow
from wherry.protocol.up import Status
from wherry.protocol.up.reported import QuarantineEntry, Reported, SlotReport


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


def test_a_live_rollout_is_taken_back_although_one_has_left(going: Depot) -> None:
    out(going, "pi-2")
    ended = rollouts.abort(going.db, 2, restore="revert", now_s=going.now_s, actor="ann")
    assert (ended.state, asked(going)) == ("reverting", ["digits:1", "-", "digits:1", "digits:1"])
    back(going, "pi-2")
    assert asked(going)[1] == "-", "what it is to run is decided by rollouts"


@pytest.mark.parametrize("ended", [retry.retry_failed, rollouts.abort])
def test_a_held_rollout_is_carried_on_or_taken_back_although_one_has_left(going: Depot, ended: Any) -> None:
    steering.hold(going.db, 2, now_s=going.now_s, actor="ann")
    out(going, "pi-2")
    more = {"restore": "revert"} if ended is rollouts.abort else {}
    ended(going.db, 2, now_s=going.now_s, actor="ann", **more)
    version = 1 if more else 2
    assert (get(going).state, asked(going)[2]) == ("reverting" if more else "running", f"digits:{version}")


def test_a_held_rollout_that_is_carried_on_ends_although_one_left_it_in_the_middle(going: Depot) -> None:
    going.trying("pi-3", "self-test")
    tick(going)
    steering.hold(going.db, 2, now_s=going.now_s, actor="ann")
    remove(going, "pi-3")
    retried = retry.retry_failed(going.db, 2, now_s=going.now_s, actor="ann")
    assert (retried.again, retried.left) == (("pi-4",), {"pi-3": GONE})
    assert standings(going)["pi-3"] == "removed"


def test_one_that_found_it_bad_after_the_hold_has_failed_when_it_is_carried_on(going: Depot) -> None:
    going.trying("pi-3", "self-test")
    tick(going)
    wanted, old = going.wanted("pi-3"), going.desired("pi-3")
    assert wanted is not None
    steering.hold(going.db, 2, now_s=going.now_s, actor="ann")
    bad = QuarantineEntry(artifact=wanted.artifact, reason="wrong answers")
    slot = SlotReport(slot="main", phase="running", serving=going.runs("pi-3"), quarantine=(bad,))
    told = Reported(epoch=old.epoch, generation=old.generation, slots=(slot,))
    ingest.apply_reported(going.db, "pi-3", told, now_s=going.now_s)
    steering.override(going.db, 2, "failures", reason="pi-3 is broken", now_s=going.now_s, actor="ann")
    retried = retry.retry_failed(going.db, 2, now_s=going.now_s, actor="ann")
    assert (retried.again, standings(going)["pi-3"]) == (("pi-4",), "rejected")


def test_one_that_is_queued_begins_without_the_named_that_have_left(fleet: Depot) -> None:
    start(fleet, 1, target=Target(devices=("pi-1",)))
    start(fleet, 2, waves=FULL_FLEET, on_overlap="queue")
    remove(fleet, "pi-4")
    out(fleet, "pi-3")
    with pytest.raises(Conflict, match="rollout 2 of digits:2 is queued for pi-2"):
        start(fleet, 3, target=Target(devices=("pi-2",)))
    rollouts.abort(fleet.db, 1, restore="keep", now_s=fleet.now_s, actor="ann")
    tick(fleet)
    told = {entry.device: (entry.standing, entry.reason) for entry in get(fleet).devices}
    assert get(fleet).state == "running"
    assert (told["pi-3"], told["pi-4"]) == (("removed", GONE), ("removed", GONE))


def test_nothing_is_written_for_one_that_left_while_an_older_wherry_kept_it_in_the_rollout(going: Depot) -> None:
    with going.db.write() as session:
        session.get_one(DeviceRow, "pi-2").decommissioned_s = going.now_s
        orders = Orders(session, ["pi-2"])
        orders.want("pi-2", "main", None, now_s=going.now_s)
        orders.write()
    rollouts.abort(going.db, 2, restore="revert", now_s=going.now_s, actor="ann")
    back(going, "pi-2")
    assert asked(going) == ["digits:1", "-", "digits:1", "digits:1"]
