"""What an operator does with a rollout that is under way: on, to a stop, past a gate, and once more."""

from typing import Any

import pytest

from tests.support.depot import FLEET, Depot
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.gates import GATES
from wherry.controller.core.plan import FULL_FLEET
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import audit, rollouts, steering
from wherry.controller.operations.rollouts import RolloutView
from wherry.controller.operations.verdicts import list_verdicts

EMERGENCY = "the sensor is known to be off"


def promote(depot: Depot, wave: int, rollout: int = 1) -> RolloutView:
    return steering.promote(depot.db, rollout, wave=wave, reason="it is late", now_s=depot.now_s, actor="ann")


def hold(depot: Depot, rollout: int) -> RolloutView:
    return steering.hold(depot.db, rollout, reason="lunch", now_s=depot.now_s, actor="ann")


def override(depot: Depot, rollout: int, gate: str, reason: str = EMERGENCY) -> RolloutView:
    return steering.override(depot.db, rollout, gate, reason=reason, now_s=depot.now_s, actor="ann")


def withdraw(depot: Depot, rollout: int, gate: str) -> RolloutView:
    return steering.withdraw_override(depot.db, rollout, gate, now_s=depot.now_s, actor="ann")


def asked(depot: Depot) -> list[str]:
    return [str(wanted.ref) if wanted else "-" for wanted in map(depot.wanted, FLEET)]


def told(depot: Depot, action: str) -> list[tuple[str, object]]:
    """By whom and why, newest first."""
    return [(row.actor, row.detail.get("reason")) for row in audit.list_audit(depot.db) if row.action == action]


def test_the_next_wave_is_opened_by_hand_although_evidence_is_missing_and_once_only(fleet: Depot) -> None:
    start(fleet, min_inferences=1000)
    fleet.commit("pi-1")
    tick(fleet)
    for _ in range(2):
        opened = promote(fleet, 2)
    assert (opened.wave, opened.state, asked(fleet)) == (2, "running", ["digits:1", "digits:1", "-", "-"])
    assert told(fleet, "rollout-promoted") == [("ann", "it is late")]
    assert [gate.verdict for verdict in list_verdicts(fleet.db, 1) for gate in verdict.results].count("wait") >= 1
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 1).wave == 2, "the gates of the new wave are asked as ever"


def test_a_wave_that_is_opened_by_hand_is_watched_from_then_on(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, min_inferences=1000)
    fleet.commit("pi-1")
    promote(fleet, 2, 2)
    fleet.refuse("pi-2", "reverted", "too slow")
    tick(fleet)
    assert rollouts.get_rollout(fleet.db, 2).state == "reverting"
    assert asked(fleet) == ["digits:1"] * 4


def test_no_wave_is_opened_past_a_gate_that_says_breach(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    fleet.refuse("pi-1", "reverted", "too slow")
    with pytest.raises(Conflict, match=r"rollout 2 is reverting: wave 1 of 3: failures: 1 of 1 devices failed.*pi-1"):
        promote(fleet, 2, 2)
    assert asked(fleet)[1:] == ["digits:1"] * 3
    assert tick(fleet) == ("pi-1",), "what was refused has undone nothing: the next tick takes it back"


@pytest.mark.parametrize(
    ("wave", "words"),
    [(3, "rollout 1 has opened wave 1 so far; open wave 2 first"), (4, "rollout 1 has 3 waves, and nobody but its")],
)
def test_waves_are_opened_one_after_another_and_none_completes_it_by_hand(fleet: Depot, wave: int, words: str) -> None:
    start(fleet)
    with pytest.raises(Conflict) as refused:
        promote(fleet, wave)
    assert words in refused.value.line


def test_a_paused_rollout_is_resumed_before_it_is_promoted(fleet: Depot) -> None:
    start(fleet)
    rollouts.pause(fleet.db, 1, now_s=fleet.now_s, actor="ann")
    with pytest.raises(Conflict, match="rollout 1 is paused"):
        promote(fleet, 2)
    with pytest.raises(NotFound):
        promote(fleet, 2, 9)


def test_a_rollout_is_held_by_hand_and_nobody_begins_afterwards(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET)
    fleet.commit("pi-1")
    fleet.trying("pi-2", "download")
    for _ in range(2):
        held = hold(fleet, 2)
    assert (held.state, held.live, held.reason) == ("held", False, "held by ann: lunch")
    assert asked(fleet) == ["digits:2", "digits:1", "digits:1", "digits:1"]
    assert told(fleet, "rollout-held") == [("ann", "held by ann: lunch")]
    assert rollouts.abort(fleet.db, 2, restore="revert", now_s=fleet.now_s, actor="ann").state == "reverting"
    assert asked(fleet) == ["digits:1"] * 4
    with pytest.raises(Conflict, match="rollout 2 is reverting"):
        hold(fleet, 2)


def test_a_gate_that_is_overruled_counts_as_ok_and_says_so(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, min_inferences=1000)
    for _ in range(2):
        view = override(fleet, 2, "inferences")
    assert [(entry.gate, entry.actor, entry.reason) for entry in view.overrides] == [("inferences", "ann", EMERGENCY)]
    assert told(fleet, "rollout-gate-overruled") == [("ann", EMERGENCY)]
    fleet.commit("pi-1")
    assert tick(fleet) == ("pi-2",)
    gates = {gate.gate: gate for gate in rollouts.get_rollout(fleet.db, 2).gates}
    assert gates["inferences"].verdict == "ok"
    assert f"overruled by ann: {EMERGENCY}; it said wait" in gates["inferences"].reason


def test_failures_may_be_overruled_before_they_breach(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET)
    override(fleet, 2, "failures")
    fleet.refuse("pi-1", "reverted", "too slow")
    fleet.commit("pi-2", "pi-3", "pi-4")
    tick(fleet)
    ended = rollouts.get_rollout(fleet.db, 2)
    assert (ended.state, ended.counts) == ("completed", {"committed": 3, "reverted": 1})


def test_an_override_that_is_withdrawn_judges_at_once(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, waves=FULL_FLEET)
    override(fleet, 2, "failures")
    fleet.refuse("pi-1", "reverted", "too slow")
    tick(fleet)
    assert withdraw(fleet, 2, "failures").state == "reverting"
    with pytest.raises(Conflict, match="rollout 2 is reverting"):
        withdraw(fleet, 2, "failures")
    assert told(fleet, "rollout-gate-restored") == [("ann", None)]


def test_an_override_that_is_not_there_is_withdrawn_without_a_word(fleet: Depot) -> None:
    start(fleet)
    assert withdraw(fleet, 1, "soak").overrides == ()
    assert told(fleet, "rollout-gate-restored") == []


@pytest.mark.parametrize(
    ("gate", "reason", "words"),
    [
        ("soak", "  why not  ", "a reason of 7 characters; say in 10 or more why soak may be ignored"),
        ("luck", EMERGENCY, f"no gate 'luck'; there are {', '.join(name for name, _ in GATES)}"),
    ],
)
def test_a_gate_is_named_and_a_reason_given(fleet: Depot, gate: str, reason: str, words: str) -> None:
    start(fleet)
    with pytest.raises(Invalid) as refused:
        override(fleet, 1, gate, reason)
    assert refused.value.line == words


def test_another_reason_replaces_the_first(fleet: Depot) -> None:
    start(fleet)
    override(fleet, 1, "soak")
    view = override(fleet, 1, "soak", "measured by hand this morning")
    assert [entry.reason for entry in view.overrides] == ["measured by hand this morning"]
    assert len(told(fleet, "rollout-gate-overruled")) == 2


def test_what_has_ended_takes_no_orders(fleet: Depot) -> None:
    complete(fleet, 1)
    orders: list[Any] = [lambda: hold(fleet, 1), lambda: override(fleet, 1, "soak"), lambda: promote(fleet, 9)]
    for order in orders:
        with pytest.raises(Conflict, match="rollout 1 is completed"):
            order()


def test_abort_takes_back_earlier_waves_too_where_only_the_last_was_being_taken_back(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, on_breach="revert-wave")
    fleet.commit("pi-1")
    tick(fleet)
    fleet.refuse("pi-2", "reverted", "too slow")
    tick(fleet)
    assert asked(fleet) == ["digits:2", "digits:1", "digits:1", "digits:1"]
    for _ in range(2):
        rollouts.abort(fleet.db, 2, restore="revert", reason="all of it", now_s=fleet.now_s, actor="ann")
    assert asked(fleet) == ["digits:1"] * 4
    fleet.commit(*FLEET)
    tick(fleet)
    ended = rollouts.get_rollout(fleet.db, 2)
    assert (ended.state, ended.reason.split(";")[0]) == ("aborted", "aborted by ann: all of it")
    assert [actor for actor, _ in told(fleet, "rollout-aborted")] == ["engine", "ann"]


def test_that_devices_have_settled_is_never_overruled(fleet: Depot) -> None:
    """Or a rollout would be complete with devices in the middle of an update."""
    start(fleet, 1)
    with pytest.raises(Invalid, match="the gate settled cannot be overruled") as caught:
        steering.override(fleet.db, 1, "settled", reason="it takes too long", now_s=fleet.now_s, actor="ann")
    assert "abort" in caught.value.fix
