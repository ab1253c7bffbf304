"""Rollouts over a real database, which is closed and opened again between the steps."""

from typing import Any

import pytest
from msgspec import DecodeError
from sqlalchemy.exc import IntegrityError

from tests.support.controller_values import LITERT_ONLY, TFLITE, make_plan, make_variant
from tests.support.depot import FLEET, Depot
from wherry.controller.core.plan import FULL_FLEET, OnAbort, Target
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import audit, backup, devices, rollouts
from wherry.controller.operations.rollouts import RolloutView

NAMED = Target(devices=FLEET)


def start(depot: Depot, version: int = 1, **more: Any) -> RolloutView:
    plan = make_plan(version, **({"target": NAMED} | more))
    return rollouts.start(depot.db, plan, now_s=depot.now_s, actor="ann")


def tick(depot: Depot, passed_s: float = 1.0) -> tuple[str, ...]:
    """Killed and started again, then one tick, and one more that must find nothing to do."""
    depot.now_s += passed_s
    depot.reopen()
    devices = rollouts.tick(depot.db, now_s=depot.now_s)
    assert rollouts.tick(depot.db, now_s=depot.now_s) == ()
    return devices


def complete(depot: Depot, version: int, **more: Any) -> RolloutView:
    """Roll the version out to its happy end."""
    rollout = start(depot, version, **more)
    while rollout.live:
        sent = [entry.device for entry in rollout.devices if entry.standing == "sent"]
        depot.commit(*sent)
        tick(depot)
        rollout = rollouts.get_rollout(depot.db, rollout.id)
    return rollout


def asked(depot: Depot) -> list[str]:
    return [str(wanted.ref) if wanted else "-" for wanted in map(depot.wanted, FLEET)]


def test_from_the_first_wave_to_the_end(fleet: Depot) -> None:
    first = start(fleet)
    assert first.counts == {"sent": 1, "waiting": 3}
    assert fleet.wanted("pi-1") is not None
    assert fleet.wanted("pi-2") is None
    fleet.commit("pi-1")
    assert tick(fleet) == ("pi-2",)
    fleet.commit("pi-2")
    assert tick(fleet) == ("pi-3", "pi-4")
    fleet.commit("pi-3", "pi-4")
    assert tick(fleet) == ()
    done = rollouts.get_rollout(fleet.db, first.id)
    assert (done.state, done.counts, done.live) == ("completed", {"committed": 4}, False)
    told = [row.action for row in audit.list_audit(fleet.db)][:4]
    assert told == ["rollout-completed", "rollout-promoted", "rollout-promoted", "rollout-started"]


def test_evidence_must_come_in_by_telemetry_of_the_version_since_it_was_sent(fleet: Depot) -> None:
    complete(fleet, 1)
    running = fleet.runs("pi-1")
    assert running is not None
    rollout = start(fleet, 2, min_inferences=10, soak_s=30.0)
    fleet.telemetry("pi-1", running, latencies_ms=[1.0] * 50)
    fleet.commit("pi-1")
    tick(fleet, 31.0)
    assert tick(fleet, 31.0) == ()
    gates = {gate.gate: gate.reason for gate in rollouts.get_rollout(fleet.db, rollout.id).gates}
    assert gates["inferences"] == "0 of 10 needed inferences seen"
    candidate = fleet.runs("pi-1")
    assert candidate is not None
    fleet.telemetry("pi-1", candidate, latencies_ms=[1.0] * 10)
    assert tick(fleet) == ("pi-2",)


def test_a_device_that_reverts_stops_the_rollout_and_all_go_back(fleet: Depot) -> None:
    complete(fleet, 1)
    rollout = start(fleet, 2)
    fleet.commit("pi-1")
    tick(fleet)
    fleet.refuse("pi-2", "reverted", "p95 90 ms, limit 20 ms")
    assert tick(fleet) == ("pi-1", "pi-2")
    going = rollouts.get_rollout(fleet.db, rollout.id)
    assert going.state == "reverting"
    assert "pi-2 reverted (probation: p95 90 ms, limit 20 ms)" in going.reason
    assert [str(wanted.ref) for wanted in map(fleet.wanted, FLEET) if wanted] == ["digits:1"] * 4
    fleet.commit("pi-1", "pi-2")
    tick(fleet)
    gone = rollouts.get_rollout(fleet.db, rollout.id)
    assert (gone.state, gone.counts) == ("reverted", {"committed": 1, "reverted": 1, "waiting": 2})
    assert [str(fleet.runs(device)) for device in FLEET] == ["digits:1"] * 4


def test_a_first_version_that_fails_leaves_no_document_behind(fleet: Depot) -> None:
    start(fleet)
    fleet.refuse("pi-1", "rejected", "self-test failed")
    tick(fleet)
    assert fleet.wanted("pi-1") is None
    assert fleet.desired("pi-1").generation == 2
    fleet.commit("pi-1")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 1).state == "reverted"


def test_a_clock_that_is_put_back_holds_nothing_up(fleet: Depot) -> None:
    rollout = start(fleet, 2, soak_s=10.0)
    fleet.commit("pi-1")
    fleet.now_s -= 500
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, rollout.id).created_s == fleet.now_s
    fleet.now_s += 10
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, rollout.id).wave == 2


def test_the_p95_is_held_against_what_the_device_ran_before(fleet: Depot) -> None:
    complete(fleet, 1)
    before = fleet.runs("pi-1")
    assert before is not None
    fleet.telemetry("pi-1", before, latencies_ms=[5.0] * 100)
    fleet.now_s += 1
    rollout = start(fleet, 2, max_p95_ratio=2.0)
    fleet.commit("pi-1")
    after = fleet.runs("pi-1")
    assert after is not None
    fleet.telemetry("pi-1", after, latencies_ms=[11.0] * 100)
    tick(fleet)
    reason = rollouts.get_rollout(fleet.db, rollout.id).reason
    assert "latency: p95" in reason
    assert "against 5.00 ms before (2.18 times, 2.18 to 2.18) on aarch64, 4 CPUs, limit 2 times" in reason


def test_who_cannot_run_it_is_set_apart_with_the_reason(fleet: Depot) -> None:
    fleet.version("new-operators", make_variant("new-operators", floors=LITERT_ONLY))
    fleet.device("pi-3", TFLITE)
    rollout = complete(fleet, 4)
    assert rollout.counts == {"committed": 3, "incompatible": 1}
    assert (rollout.devices[0].device, rollout.devices[0].wave) == ("pi-3", 0)
    assert "needs litert >= 1.0.0" in rollout.devices[0].reason
    assert fleet.wanted("pi-3") is None


def test_a_version_that_nobody_can_run_is_refused(fleet: Depot) -> None:
    fleet.version("new-operators", make_variant("new-operators", floors=LITERT_ONLY))
    for device in FLEET:
        fleet.device(device, TFLITE)
    with pytest.raises(Conflict, match=r"no device can run digits:4: pi-1 needs litert >= 1\.0\.0.*; and 3 more"):
        start(fleet, 4)
    assert rollouts.list_rollouts(fleet.db) == []


def test_two_rollouts_never_share_a_device(fleet: Depot) -> None:
    start(fleet, 1, target=Target(devices=("pi-1", "pi-2")))
    with pytest.raises(Conflict, match="rollout 1 of digits:1 is running on pi-2") as refused:
        start(fleet, 2, target=Target(devices=("pi-2", "pi-3")))
    assert "wherry rollout abort 1" in refused.value.line
    assert start(fleet, 2, target=Target(devices=("pi-3",))).id == 2


def test_an_artifact_in_quarantine_is_not_sent_again(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    fleet.commit("pi-1")
    tick(fleet)
    before = fleet.desired("pi-1")
    again = start(fleet, 2)
    assert again.devices[0].reason == "in quarantine on the device, not sent again: too slow"
    tick(fleet)
    ended = rollouts.get_rollout(fleet.db, again.id)
    assert (ended.state, ended.reason.endswith("it was sent to nobody")) == ("reverted", True)
    assert fleet.desired("pi-1") == before


@pytest.mark.parametrize(("operation", "state"), [(rollouts.pause, "paused"), (rollouts.resume, "running")])
def test_pause_and_resume_are_idempotent(fleet: Depot, operation: Any, state: str) -> None:
    start(fleet)
    rollouts.pause(fleet.db, 1, now_s=fleet.now_s, actor="ann")
    told = [operation(fleet.db, 1, now_s=fleet.now_s, actor="ann").state for _ in range(2)]
    assert told == [state, state]


def test_a_paused_rollout_sends_nothing_until_it_is_resumed(fleet: Depot) -> None:
    start(fleet)
    rollouts.pause(fleet.db, 1, now_s=fleet.now_s, actor="ann")
    fleet.commit("pi-1")
    assert tick(fleet) == ()
    resumed = rollouts.resume(fleet.db, 1, now_s=fleet.now_s, actor="ann")
    assert (resumed.wave, resumed.counts["sent"]) == (2, 1)


def abort(depot: Depot, rollout: int, restore: OnAbort) -> RolloutView:
    return rollouts.abort(depot.db, rollout, restore=restore, now_s=depot.now_s, actor="ann")


def test_abort_keeps_or_reverts_and_may_be_said_twice(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    fleet.commit("pi-1")
    for _ in range(2):
        kept = abort(fleet, 2, "keep")
    assert (kept.state, asked(fleet)) == ("aborted", ["digits:2", "digits:1", "digits:1", "digits:1"])
    start(fleet, 3)
    for _ in range(2):
        going = abort(fleet, 3, "revert")
    assert (going.state, asked(fleet)[0]) == ("reverting", "digits:2")
    fleet.commit("pi-1")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 3).state == "aborted"


@pytest.mark.parametrize("paused", [False, True])
def test_who_has_not_settled_goes_on_with_what_it_had_after_an_abort(fleet: Depot, *, paused: bool) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, max_failures=1)
    fleet.commit("pi-1")
    fleet.refuse("pi-2", "rejected", "no room")
    fleet.trying("pi-3", "probation")
    if paused:
        rollouts.pause(fleet.db, 2, now_s=fleet.now_s, actor="ann")
    aborted = abort(fleet, 2, "keep")
    assert asked(fleet) == ["digits:2", "digits:2", "digits:1", "digits:1"]
    told = {entry.device: (entry.standing, entry.restored) for entry in aborted.devices}
    assert told == {
        "pi-1": ("committed", False),
        "pi-2": ("rejected", False),
        "pi-3": ("in-progress", True),
        "pi-4": ("sent", True),
    }


def test_a_rollout_that_was_held_with_some_unsettled_can_still_be_taken_back(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, on_breach="hold")
    fleet.commit("pi-1")
    fleet.refuse("pi-2", "reverted", "too slow")
    tick(fleet)
    assert asked(fleet) == ["digits:2", "digits:2", "digits:1", "digits:1"]
    assert abort(fleet, 2, "revert").state == "reverting"
    assert asked(fleet) == ["digits:1"] * 4


def test_an_abort_of_what_was_held_leaves_a_newer_rollout_alone(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, on_breach="hold")
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    complete(fleet, 3)
    assert abort(fleet, 2, "keep").state == "aborted"
    assert asked(fleet) == ["digits:3"] * 4


def test_a_held_rollout_can_still_be_taken_back(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, on_breach="hold")
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 2).state == "held"
    assert rollouts.abort(fleet.db, 2, restore="revert", now_s=fleet.now_s, actor="ann").state == "reverting"
    assert str(fleet.wanted("pi-1").ref) == "digits:1"  # type: ignore[union-attr]


def test_a_held_rollout_cannot_be_taken_back_from_under_a_newer_one(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, on_breach="hold")
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    complete(fleet, 3)
    with pytest.raises(Conflict, match="pi-1 was given something else since rollout 2 was held"):
        rollouts.abort(fleet.db, 2, restore="revert", now_s=fleet.now_s, actor="ann")
    assert str(fleet.wanted("pi-1").ref) == "digits:3"  # type: ignore[union-attr]


def test_a_held_rollout_is_taken_back_but_for_those_that_were_given_something_else(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET, on_breach="hold", max_failures=0)
    fleet.commit("pi-1", "pi-3", "pi-4")
    fleet.refuse("pi-2", "reverted", "too slow")
    tick(fleet)
    complete(fleet, 3, target=Target(devices=("pi-1",)))
    start(fleet, 3, target=Target(devices=("pi-2", "pi-4")))
    fleet.commit("pi-4")
    going = abort(fleet, 2, "revert")
    assert (going.state, asked(fleet)) == ("reverting", ["digits:3", "digits:3", "digits:1", "digits:2"])
    assert going.reason == "aborted by ann; left out, since they were given something else: pi-1, pi-2, pi-4"


def test_what_a_rollout_was_paused_for_is_forgotten_when_it_is_resumed(fleet: Depot) -> None:
    start(fleet)
    backup.take_over(fleet.db, now_s=fleet.now_s, actor="ann")
    assert rollouts.get_rollout(fleet.db, 1).reason == backup.PAUSED
    assert rollouts.resume(fleet.db, 1, now_s=fleet.now_s, actor="ann").reason == ""


def test_what_has_ended_stays_ended(fleet: Depot) -> None:
    complete(fleet, 1)
    for operation in (rollouts.pause, rollouts.resume):
        with pytest.raises(Conflict, match="rollout 1 is completed"):
            operation(fleet.db, 1, now_s=fleet.now_s, actor="ann")
    with pytest.raises(Conflict, match="has ended completed"):
        rollouts.abort(fleet.db, 1, restore="keep", now_s=fleet.now_s, actor="ann")
    with pytest.raises(NotFound, match="no rollout 9"):
        rollouts.get_rollout(fleet.db, 9)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (Target(devices=("pi-9",)), NotFound, "no device 'pi-9'"),
        (Target(labels={"site": "moon"}), Invalid, "no device is site=moon"),
    ],
)
def test_a_target_that_means_nobody_is_refused(fleet: Depot, target: Target, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        start(fleet, 1, target=target)


def test_an_empty_fleet_and_an_unknown_version_are_refused(depot: Depot) -> None:
    depot.version("a")
    with pytest.raises(Invalid, match="the fleet has no devices yet"):
        start(depot, 1, target=Target())
    with pytest.raises(NotFound, match="no version digits:7"):
        start(depot, 7)


def test_the_text_of_a_plan_is_what_start_then_does(fleet: Depot) -> None:
    plan = make_plan(1, target=Target())
    text = rollouts.explain(fleet.db, plan).text
    order = [line.split()[0] for line in text.splitlines() if line.startswith("  pi-")]
    assert [entry.device for entry in rollouts.start(fleet.db, plan, now_s=1.0, actor="ann").devices] == order


def test_a_removed_device_holds_nothing_up(fleet: Depot) -> None:
    rollout = start(fleet)
    fleet.commit("pi-1")
    devices.remove_device(fleet.db, "pi-2", now_s=fleet.now_s, actor="ann")
    opened = [rollouts.tick(fleet.db, now_s=fleet.now_s) for _ in range(3)]
    assert opened == [(), ("pi-3", "pi-4"), ()]
    assert rollouts.get_rollout(fleet.db, rollout.id).counts == {"committed": 1, "removed": 1, "sent": 2}


def test_a_rollout_that_cannot_be_carried_on_holds_up_no_other(fleet: Depot) -> None:
    start(fleet, 1, target=Target(devices=("pi-1", "pi-2")))
    start(fleet, 2, target=Target(devices=("pi-3", "pi-4")))
    fleet.commit("pi-1", "pi-3")
    with fleet.db.write() as session:
        session.connection().exec_driver_sql("UPDATE rollouts SET plan = 'damaged' WHERE id = 1")
    with pytest.raises(DecodeError, match="malformed"):
        rollouts.tick(fleet.db, now_s=fleet.now_s)
    assert asked(fleet) == ["digits:1", "-", "digits:2", "digits:2"]


def test_what_a_rollout_did_before_it_failed_is_undone(fleet: Depot) -> None:
    start(fleet)
    fleet.commit("pi-1")
    with fleet.db.write() as session:
        session.connection().exec_driver_sql("CREATE UNIQUE INDEX broken ON desired (slots)")
    before = audit.list_audit(fleet.db)
    with pytest.raises(IntegrityError):
        rollouts.tick(fleet.db, now_s=fleet.now_s)
    assert (rollouts.get_rollout(fleet.db, 1).wave, audit.list_audit(fleet.db)) == (1, before)


def test_blobs_are_live_while_somebody_needs_them(fleet: Depot) -> None:
    assert rollouts.live_blobs(fleet.db) == []
    start(fleet)
    (manifest, artifact, golden) = rollouts.live_blobs(fleet.db)
    assert manifest.digest in fleet.kept
    wanted = fleet.wanted("pi-1")
    assert wanted is not None
    assert (wanted.manifest, wanted.artifact) == (manifest, artifact.digest)
    assert golden.digest != artifact.digest
    fleet.commit("pi-1")
    assert len(rollouts.live_blobs(fleet.db)) == 3, "others will be sent it"
    abort(fleet, 1, "keep")
    assert rollouts.live_blobs(fleet.db) == []


def test_blobs_are_live_for_a_device_that_fetches_again_what_it_had(fleet: Depot) -> None:
    complete(fleet, 1)
    assert rollouts.live_blobs(fleet.db) == []
    fleet.trying("pi-2", "download")
    assert len(rollouts.live_blobs(fleet.db)) == 3
    fleet.commit("pi-2")
    assert rollouts.live_blobs(fleet.db) == []
