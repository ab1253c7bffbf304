"""The operator takes a whole fleet back with one command."""

import pytest

from tests.support.controller_values import LITERT_ONLY, TFLITE, make_variant
from tests.support.depot import FLEET, Depot
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.gates import verdict_of
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.errors import Conflict, NotFound
from wherry.controller.operations import rollouts, steering
from wherry.controller.operations.rollback import rollback
from wherry.controller.operations.rollouts import RolloutView


def back(depot: Depot, version: int | None = None, target: Target | None = None) -> RolloutView:
    return rollback(depot.db, "digits", version, target=target, now_s=depot.now_s, actor="ann")


def wanted(depot: Depot) -> list[str]:
    return [str(entry.ref) if entry else "-" for entry in map(depot.wanted, FLEET)]


def test_every_device_is_told_at_once(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    going = back(fleet, 1)
    assert (going.kind, going.wave_count, going.counts) == ("rollback", 1, {"sent": 4})
    assert wanted(fleet) == ["digits:1"] * 4
    fleet.commit(*FLEET)
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, going.id).state == "completed"


def test_without_a_version_it_is_the_one_before(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    start(fleet, 3)
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    tick(fleet, 200.0)
    assert rollouts.get_rollout(fleet.db, 3).state == "reverted"
    assert back(fleet).plan.version == 1


def test_a_rollout_that_is_under_way_is_superseded(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    going = back(fleet)
    assert going.plan.version == 1
    assert rollouts.get_rollout(fleet.db, 2).state == "aborted"
    assert rollouts.get_rollout(fleet.db, 2).reason == "superseded by a rollback"
    assert wanted(fleet) == ["digits:1"] * 4


def test_the_command_may_be_given_twice(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    first = back(fleet)
    assert back(fleet).id == first.id
    assert back(fleet, 1).id == first.id
    fleet.commit(*FLEET)
    tick(fleet)
    with pytest.raises(Conflict, match="was rolled back last, to digits:1"):
        back(fleet)
    assert wanted(fleet) == ["digits:1"] * 4, "the version that was left is never taken for the one before"
    complete(fleet, 3)
    assert back(fleet).plan.version == 1


def test_a_rollback_of_everybody_is_not_taken_for_the_live_one_of_a_single_device(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    single = back(fleet, 1, Target(devices=("pi-1",)))
    assert wanted(fleet) == ["digits:1", "digits:2", "digits:2", "digits:2"]
    everybody = back(fleet, 1)
    assert everybody.id != single.id
    assert wanted(fleet) == ["digits:1"] * 4
    assert rollouts.get_rollout(fleet.db, single.id).reason == "superseded by a rollback"
    assert back(fleet, 1).id == everybody.id


def test_a_rollback_that_is_superseded_leaves_its_devices_on_the_way_back(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    back(fleet, 1)
    back(fleet, 1, Target(devices=("pi-1",)))
    assert wanted(fleet) == ["digits:1"] * 4


def test_a_rollback_of_some_devices_takes_them_out_of_a_rollout_that_goes_on_for_the_others(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    fleet.commit("pi-1")
    tick(fleet)
    assert wanted(fleet) == ["digits:2", "digits:2", "digits:1", "digits:1"]
    back(fleet, 1, Target(devices=("pi-2", "pi-3")))
    assert wanted(fleet) == ["digits:2", "digits:1", "digits:1", "digits:1"]
    going = rollouts.get_rollout(fleet.db, 2)
    told = {entry.device: (entry.wave, entry.standing, entry.reason) for entry in going.devices}
    assert (going.state, told["pi-4"][:2]) == ("running", (3, "waiting"))
    assert told["pi-2"] == told["pi-3"] == (0, "released", "taken out by a rollback of ann")
    tick(fleet)
    fleet.commit(*FLEET)
    tick(fleet)
    ended = rollouts.get_rollout(fleet.db, 2)
    assert (ended.state, ended.counts) == ("completed", {"committed": 2, "released": 2})
    assert wanted(fleet) == ["digits:2", "digits:1", "digits:1", "digits:2"]


def test_a_rollout_whose_only_canary_is_taken_out_waits_for_an_operator(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    back(fleet, 1, Target(devices=("pi-1",)))
    tick(fleet)
    fleet.commit("pi-1")
    tick(fleet)
    waiting = rollouts.get_rollout(fleet.db, 2)
    told = next(gate for gate in waiting.gates if gate.gate == "devices")
    assert (waiting.state, waiting.wave, told.verdict) == ("running", 1, "wait")
    assert verdict_of(told.gate, told.evidence) == "wait"
    assert told.reason == "nobody is left in wave 1: open the next one by hand, or abort"
    assert wanted(fleet) == ["digits:1"] * 4
    steering.promote(fleet.db, 2, wave=2, now_s=fleet.now_s, actor="ann")
    assert wanted(fleet) == ["digits:1", "digits:2", "digits:1", "digits:1"]


def test_a_version_that_was_kept_at_an_abort_is_the_one_that_is_left(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    start(fleet, 3)
    fleet.commit("pi-1")
    rollouts.abort(fleet.db, 3, restore="keep", now_s=fleet.now_s, actor="ann")
    assert back(fleet).plan.version == 2


def test_a_version_that_is_being_taken_back_is_the_one_that_is_left(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    start(fleet, 3, waves=FULL_FLEET)
    fleet.commit("pi-2")
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 3).state == "reverting"
    assert back(fleet).plan.version == 2


def test_a_version_that_earlier_waves_have_kept_is_the_one_that_is_left(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    start(fleet, 3, on_breach="revert-wave")
    fleet.commit("pi-1")
    tick(fleet)
    fleet.refuse("pi-2", "reverted", "too slow")
    tick(fleet)
    fleet.commit("pi-2")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 3).state == "reverted"
    assert wanted(fleet) == ["digits:3", "digits:2", "digits:2", "digits:2"]
    assert back(fleet).plan.version == 2


def test_the_same_part_may_be_rolled_back_twice_beside_the_rollout_of_the_others(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    fleet.commit("pi-1")
    first = back(fleet, 1, Target(devices=("pi-2",)))
    again = back(fleet, 1, Target(devices=("pi-2",)))
    assert (first.created, again.created, first.id) == (True, False, again.id)
    assert [entry.state for entry in rollouts.list_rollouts(fleet.db)] == ["running", "running", "completed"]


def test_a_rollout_that_nobody_is_left_in_is_superseded(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, target=Target(devices=("pi-1", "pi-2")))
    back(fleet, 1, Target(devices=("pi-1", "pi-2", "pi-3")))
    ended = rollouts.get_rollout(fleet.db, 2)
    assert (ended.state, ended.reason) == ("aborted", "superseded by a rollback")
    assert wanted(fleet) == ["digits:1"] * 4


def test_a_rollback_that_nobody_answers_still_waits_for_all(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    going = back(fleet, 1)
    tick(fleet, 4000.0)
    assert rollouts.get_rollout(fleet.db, going.id).state == "held"
    assert wanted(fleet) == ["digits:1"] * 4, "who returns late goes back all the same"


def test_who_cannot_run_it_or_found_it_bad_is_listed_with_the_reason(fleet: Depot) -> None:
    fleet.version("litert", make_variant("litert", floors=LITERT_ONLY))
    fleet.device("pi-4", TFLITE)
    complete(fleet, 1)
    start(fleet, 4)
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    going = back(fleet, 4)
    told = {entry.device: (entry.standing, entry.reason) for entry in going.devices}
    assert told["pi-4"][0] == "incompatible"
    assert told["pi-1"] == ("rejected", "in quarantine on the device, not sent again: too slow")
    assert told["pi-2"][0] == "sent"
    assert wanted(fleet) == ["digits:1", "digits:4", "digits:4", "digits:1"]
    fleet.commit("pi-2", "pi-3")
    tick(fleet)
    ended = rollouts.get_rollout(fleet.db, going.id)
    assert (ended.state, ended.reason) == ("completed", "2 committed, 1 failed, 1 cannot run it")


def test_silence_ends_it_with_the_count(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    going = back(fleet, 1)
    fleet.commit("pi-1")
    tick(fleet, 4000.0)
    ended = rollouts.get_rollout(fleet.db, going.id)
    assert (ended.state, ended.counts) == ("completed", {"committed": 1, "silent": 3})
    assert wanted(fleet) == ["digits:1"] * 4, "who returns late goes back all the same"


def test_only_devices_that_have_the_model_are_touched(fleet: Depot) -> None:
    complete(fleet, 1, target=Target(devices=("pi-1", "pi-2")))
    complete(fleet, 2, target=Target(devices=("pi-1", "pi-2")))
    assert [entry.device for entry in back(fleet).devices] != []
    assert wanted(fleet) == ["digits:1", "digits:1", "-", "-"]


def test_where_there_is_nothing_to_go_back_to_it_is_said(fleet: Depot) -> None:
    with pytest.raises(Conflict, match="no earlier completed rollout"):
        back(fleet)
    with pytest.raises(NotFound, match="no version digits:9"):
        back(fleet, 9)
    with pytest.raises(Conflict, match="no device of the target has 'digits'"):
        back(fleet, 1)
    assert rollouts.list_rollouts(fleet.db) == []
