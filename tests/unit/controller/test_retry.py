"""The version once more to who failed with it, because an operator said so."""

import pytest

from tests.support.depot import FLEET, Depot
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.errors import Conflict, NotFound
from wherry.controller.operations import audit, devices, ingest, retry, rollouts, steering
from wherry.controller.operations.retry import Retried
from wherry.protocol.up.reported import Outcome, Reported, SlotReport


def again(depot: Depot, rollout: int = 2) -> Retried:
    return retry.retry_failed(depot.db, rollout, reason="the link is back", now_s=depot.now_s, actor="ann")


def fails_to_fetch(depot: Depot, device: str) -> None:
    """The device cannot download it, which speaks against nothing, so it keeps no quarantine."""
    desired, wanted, serving = depot.desired(device), depot.wanted(device), depot.runs(device)
    assert wanted is not None
    order = {"epoch": desired.epoch, "generation": desired.generation}
    outcome = Outcome(ref=wanted.ref, result="rejected", phase="download", reason="no route", **order)
    slot = SlotReport(slot="main", phase="running" if serving else "empty", serving=serving, outcome=outcome)
    ingest.apply_reported(depot.db, device, Reported(slots=(slot,), **order), now_s=depot.now_s)


def asked(depot: Depot) -> list[str]:
    return [str(wanted.ref) if wanted else "-" for wanted in map(depot.wanted, FLEET)]


def generations(depot: Depot) -> list[int]:
    return [depot.desired(device).generation for device in FLEET]


@pytest.fixture
def going(fleet: Depot) -> Depot:
    """Rollout 2 is at all four: one cannot fetch it, one found it bad, one has it, one is silent."""
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, max_failures=3)
    fails_to_fetch(fleet, "pi-1")
    fleet.refuse("pi-2", "reverted", "too slow")
    fleet.commit("pi-3")
    tick(fleet, 50.0)
    return fleet


def test_it_is_sent_again_to_who_failed_but_for_those_that_hold_it_in_quarantine(going: Depot) -> None:
    before = generations(going)
    retried = again(going)
    assert (retried.again, retried.left) == (("pi-1",), {"pi-2": "in quarantine on the device: too slow"})
    assert [now - then for now, then in zip(generations(going), before, strict=True)] == [1, 0, 0, 0]
    assert retried.rollout.counts == {"sent": 2, "reverted": 1, "committed": 1}
    second = again(going)
    assert (second.again, generations(going)[0]) == ((), before[0] + 1), "said twice, it is sent once"
    (entry,) = (row for row in audit.list_audit(going.db) if row.action == "rollout-retried")
    assert (entry.actor, entry.detail) == ("ann", {"devices": ["pi-1"], "reason": "the link is back"})
    going.commit("pi-1", "pi-4")
    tick(going)
    ended = rollouts.get_rollout(going.db, 2)
    assert (ended.state, ended.counts) == ("completed", {"committed": 3, "reverted": 1})


def test_who_was_given_up_as_silent_is_sent_it_again(going: Depot) -> None:
    tick_only(going, 60.0)
    assert rollouts.get_rollout(going.db, 2).state == "completed", "three failures are allowed, and one committed"
    with pytest.raises(Conflict) as refused:
        again(going)
    assert "start a new one: wherry rollout start digits:2 --target pi-1,pi-2,pi-4" in refused.value.line


def tick_only(depot: Depot, passed_s: float) -> None:
    depot.now_s += passed_s
    rollouts.tick(depot.db, now_s=depot.now_s)


def test_what_it_had_before_the_first_attempt_is_given_back_after_the_second(going: Depot) -> None:
    again(going)
    going.commit("pi-1")
    rollouts.abort(going.db, 2, restore="revert", now_s=going.now_s, actor="ann")
    assert asked(going) == ["digits:1"] * 4


def test_a_rollout_that_was_held_is_carried_on(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, on_breach="hold")
    fleet.commit("pi-2")
    fails_to_fetch(fleet, "pi-1")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 2).state == "held"
    assert asked(fleet) == ["digits:2", "digits:2", "digits:1", "digits:1"]
    retried = again(fleet)
    assert (retried.rollout.state, retried.again) == ("running", ("pi-1", "pi-3", "pi-4"))
    assert asked(fleet) == ["digits:2"] * 4
    assert again(fleet).again == ()
    fleet.commit(*FLEET)
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 2).state == "completed"


def test_a_held_rollout_whose_failures_are_final_is_held_again_unless_they_are_overruled(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, on_breach="hold")
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    refused_again = again(fleet)
    assert (refused_again.rollout.state, asked(fleet)[1]) == ("held", "digits:1")
    reason = "pi-1 is known to be broken"
    steering.override(fleet.db, 2, "failures", reason=reason, now_s=fleet.now_s, actor="ann")
    assert again(fleet).rollout.state == "running"
    assert asked(fleet)[1:] == ["digits:2"] * 3


def test_a_held_rollout_in_which_nobody_can_be_sent_it_again_says_so(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, on_breach="hold")
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    with pytest.raises(Conflict, match="cannot be sent to anybody again: pi-1 in quarantine on the device: too slow"):
        again(fleet)


def test_a_held_rollout_that_was_overtaken_is_not_carried_on(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, on_breach="hold")
    fails_to_fetch(fleet, "pi-1")
    tick(fleet)
    complete(fleet, 3, target=Target(devices=("pi-4",)))
    with pytest.raises(Conflict, match="pi-4 was sent something else since, by rollout 3"):
        again(fleet)
    start(fleet, 3, target=Target(devices=("pi-3",)))
    with pytest.raises(Conflict, match="was sent something else since"):
        again(fleet)


def test_a_removed_device_is_not_sent_it_again(going: Depot) -> None:
    devices.remove_device(going.db, "pi-1", now_s=going.now_s, actor="ann")
    left = again(going).left
    assert left["pi-1"] == "the device was removed from the fleet"


def test_a_rollout_that_is_paused_sends_it_when_it_is_resumed(going: Depot) -> None:
    rollouts.pause(going.db, 2, now_s=going.now_s, actor="ann")
    before = generations(going)
    retried = again(going)
    assert (retried.again, generations(going)) == (("pi-1",), before)
    assert retried.rollout.counts["retrying"] == 1
    rollouts.resume(going.db, 2, now_s=going.now_s, actor="ann")
    assert generations(going)[0] == before[0] + 1


def test_a_rollout_that_is_unknown_or_being_taken_back_is_told_apart(going: Depot) -> None:
    with pytest.raises(NotFound):
        again(going, 9)
    rollouts.abort(going.db, 2, restore="revert", now_s=going.now_s, actor="ann")
    with pytest.raises(Conflict, match="rollout 2 is reverting"):
        again(going)


def test_attempts_are_counted_anew(going: Depot) -> None:
    again(going)
    with going.db.read() as session:
        query = "SELECT attempts FROM rollout_devices WHERE rollout = 2 ORDER BY device"
        attempts = [row[0] for row in session.connection().exec_driver_sql(query)]
    assert attempts == [1, 1, 1, 1]


def test_the_deadlines_of_a_rollout_that_is_carried_on_begin_anew(fleet: Depot) -> None:
    """They had passed long ago, so it was taken back from everybody in the same moment."""
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, on_breach="hold", deadline_s=1000.0)
    fails_to_fetch(fleet, "pi-1")
    fleet.commit("pi-2", "pi-3", "pi-4")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 2).state == "held"
    fleet.now_s += 5000
    assert again(fleet).rollout.state == "running"
    fleet.commit("pi-1")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 2).state == "completed"
