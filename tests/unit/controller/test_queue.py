"""Rollouts that share devices: the younger is refused, or waits for its turn."""

from typing import Any

import pytest

from tests.support.controller_values import LITERT_ONLY, TFLITE, make_birth, make_plan, make_variant
from tests.support.depot import FLEET, Depot
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.errors import Conflict, Invalid
from wherry.controller.operations import audit, devices, ingest, rollouts
from wherry.controller.operations.rollback import rollback
from wherry.controller.operations.rollouts import RolloutView


def named(*names: str) -> Target:
    return Target(devices=names)


def queue(depot: Depot, version: int, *names: str, **more: Any) -> RolloutView:
    return start(depot, version, target=named(*(names or FLEET)), on_overlap="queue", waves=FULL_FLEET, **more)


def states(depot: Depot) -> list[str]:
    """By id."""
    return [entry.state for entry in rollouts.list_rollouts(depot.db)][::-1]


def abort(depot: Depot, rollout: int) -> RolloutView:
    return rollouts.abort(depot.db, rollout, restore="keep", now_s=depot.now_s, actor="ann")


def test_one_that_overlaps_waits_and_says_for_whom(fleet: Depot) -> None:
    start(fleet, 1, target=named("pi-1", "pi-2"))
    waiting = queue(fleet, 2, "pi-2", "pi-3")
    assert (waiting.state, waiting.live, waiting.waits_for) == ("queued", True, 1)
    assert waiting.reason == "waits: rollout 1 of digits:1 is running on pi-2"
    assert (waiting.wave, waiting.wave_count, waiting.devices) == (0, 0, ())
    assert fleet.wanted("pi-3") is None
    assert tick(fleet) == ()
    assert states(fleet) == ["running", "queued"]
    queued = next(row for row in audit.list_audit(fleet.db) if row.action == "rollout-queued")
    assert (queued.actor, queued.subject, queued.detail["reason"]) == ("ann", "rollout 2", waiting.reason)


def test_it_begins_with_the_tick_in_which_the_other_one_ends(fleet: Depot) -> None:
    start(fleet, 1, target=named("pi-1"))
    queue(fleet, 2)
    fleet.device("pi-5")
    fleet.commit("pi-1")
    assert tick(fleet, 30.0) == FLEET
    begun = rollouts.get_rollout(fleet.db, 2)
    assert (begun.state, begun.reason, begun.waits_for) == ("running", "", None)
    assert begun.created_s == fleet.now_s, "the time in the queue is not a part of its deadline"
    assert [row.actor for row in audit.list_audit(fleet.db) if row.action == "rollout-started"] == ["engine", "ann"]


def test_its_waves_are_cut_over_the_fleet_as_it_is_when_it_begins(fleet: Depot) -> None:
    start(fleet, 1, target=named("pi-1"))
    start(fleet, 2, target=Target(), on_overlap="queue", waves=FULL_FLEET)
    fleet.device("pi-5")
    devices.remove_device(fleet.db, "pi-2", now_s=fleet.now_s, actor="ann")
    fleet.commit("pi-1")
    assert sorted(tick(fleet)) == ["pi-1", "pi-3", "pi-4", "pi-5"]


def test_disjoint_devices_and_other_slots_do_not_wait(fleet: Depot) -> None:
    ingest.apply_birth(fleet.db, "pi-1", make_birth(slots=("main", "left")), now_s=fleet.now_s)
    start(fleet, 1, target=named("pi-1"))
    assert queue(fleet, 2, "pi-2").state == "running"
    assert queue(fleet, 2, "pi-1", slot="left").state == "running"


def test_one_queued_behind_another_queued_one_waits_for_it_too(fleet: Depot) -> None:
    start(fleet, 1, target=named("pi-1"))
    queue(fleet, 2, "pi-1", "pi-2")
    third = queue(fleet, 3, "pi-2", "pi-3")
    assert (third.state, third.reason) == ("queued", "waits: rollout 2 of digits:2 is queued for pi-2")
    fleet.commit("pi-1")
    assert tick(fleet) == ("pi-1", "pi-2")
    assert states(fleet) == ["completed", "running", "queued"]
    fleet.commit("pi-1", "pi-2")
    assert tick(fleet) == ("pi-2", "pi-3")
    assert states(fleet) == ["completed", "completed", "running"]


def test_two_that_wait_for_the_same_begin_together_where_they_share_nothing(fleet: Depot) -> None:
    start(fleet, 1, target=named("pi-1", "pi-2"))
    queue(fleet, 2, "pi-1")
    queue(fleet, 3, "pi-2")
    abort(fleet, 1)
    tick(fleet)
    assert states(fleet) == ["aborted", "running", "running"]


def test_one_that_does_not_wish_to_wait_is_refused_and_does_not_overtake_the_queue(fleet: Depot) -> None:
    start(fleet, 1, target=named("pi-1"))
    queue(fleet, 2, "pi-1", "pi-2")
    with pytest.raises(Conflict, match="rollout 2 of digits:2 is queued for pi-2") as refused:
        start(fleet, 3, target=named("pi-2"))
    assert "wherry rollout abort 2" in refused.value.line
    assert states(fleet) == ["running", "queued"]


def test_one_that_is_to_begin_paused_is_refused(fleet: Depot) -> None:
    start(fleet, 1)
    plan = make_plan(2, on_overlap="queue")
    with pytest.raises(Conflict, match="rollout 1 of digits:1 is running on pi-1 and 3 more"):
        rollouts.start(fleet.db, plan, paused=True, now_s=fleet.now_s, actor="ann")


def test_a_queued_one_is_aborted_and_never_begins(fleet: Depot) -> None:
    start(fleet, 1)
    queue(fleet, 2)
    for restore in ("keep", "revert"):
        ended = rollouts.abort(fleet.db, 2, restore=restore, now_s=fleet.now_s, actor="ann")  # type: ignore[arg-type]
        assert (ended.state, ended.live) == ("aborted", False)
    abort(fleet, 1)
    assert tick(fleet) == ()


def test_a_queued_one_is_neither_paused_nor_resumed(fleet: Depot) -> None:
    start(fleet, 1)
    queue(fleet, 2)
    with pytest.raises(Conflict) as refused:
        rollouts.pause(fleet.db, 2, now_s=fleet.now_s, actor="ann")
    assert "it begins by itself, or is ended with `wherry rollout abort 2`" in refused.value.line


def test_one_that_cannot_begin_when_its_turn_comes_ends_with_the_reason_and_holds_up_nobody(fleet: Depot) -> None:
    fleet.version("litert", make_variant("litert", floors=LITERT_ONLY))
    start(fleet, 1, target=named("pi-1"))
    queue(fleet, 4, "pi-1")
    queue(fleet, 2, "pi-1", "pi-2")
    fleet.device("pi-1", TFLITE)
    abort(fleet, 1)
    tick(fleet)
    ended = rollouts.get_rollout(fleet.db, 2)
    assert ended.state == "aborted"
    assert ended.reason.startswith("could not begin: no device can run digits:4: pi-1 needs litert")
    tick(fleet)
    assert states(fleet) == ["aborted", "aborted", "running"]


def test_a_target_that_means_nobody_any_more_is_told_at_its_turn(fleet: Depot) -> None:
    start(fleet, 1, target=named("pi-1"))
    queue(fleet, 2, "pi-1")
    devices.remove_device(fleet.db, "pi-1", now_s=fleet.now_s, actor="ann")
    abort(fleet, 1)
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 2).reason == "could not begin: no device 'pi-1'"
    with pytest.raises(Invalid):
        start(fleet, 2, target=Target(labels={"site": "moon"}))


def test_a_rollback_of_everybody_empties_the_queue(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    queue(fleet, 3)
    rollback(fleet.db, "digits", 1, now_s=fleet.now_s, actor="ann")
    assert states(fleet) == ["completed", "aborted", "aborted", "running"]


def test_a_rollback_of_some_takes_them_out_of_what_is_queued_as_well(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, target=named("pi-1"))
    queue(fleet, 3)
    rollback(fleet.db, "digits", 1, target=named("pi-2"), now_s=fleet.now_s, actor="ann")
    assert states(fleet)[2:] == ["queued", "running"]
    fleet.commit("pi-1", "pi-2")
    tick(fleet)
    tick(fleet)
    begun = rollouts.get_rollout(fleet.db, 3)
    assert (begun.state, begun.counts) == ("running", {"sent": 3, "released": 1})
    assert str(fleet.wanted("pi-2").ref) == "digits:1"  # type: ignore[union-attr]


def test_what_the_plan_would_do_says_for_whom_it_would_wait(fleet: Depot) -> None:
    start(fleet, 1)
    told = rollouts.explain(fleet.db, make_plan(2, on_overlap="queue"))
    assert told.waits_for == 1
    assert told.text.endswith("queued until it has ended: rollout 1 of digits:1 is running on pi-1 and 3 more\n")
    with pytest.raises(Conflict, match="rollout 1 of digits:1 is running"):
        rollouts.explain(fleet.db, make_plan(2))
