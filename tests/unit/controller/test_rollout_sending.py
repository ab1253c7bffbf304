"""How the engine sends: within windows, at a rate, once more after some failures, and to who comes late."""

import pytest
from msgspec.structs import replace

from tests.support.controller_values import TFLITE, make_birth, make_plan
from tests.support.rollout_world import NEW, OLD, World
from wherry.controller.core import actions as act
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.members import Override
from wherry.controller.core.plan import Window
from wherry.controller.core.rollout import decide
from wherry.protocol.up.reported import Outcome, SlotReport

HOUR_S = 3600.0
AT_NINE = (Window(begin="09:00", end="10:00"),)
FOUR = [["pi-1", "pi-2", "pi-3", "pi-4"]]


def fail(world: World, device: str, phase: str) -> None:
    """The device refuses the version in a phase that leaves no quarantine."""
    order, _ = world.documents[device]
    outcome = Outcome(
        ref=NEW.ref,
        epoch=order[0],
        generation=order[1],
        result="rejected",
        phase=phase,
        reason="no luck",  # type: ignore[arg-type]
    )
    report = SlotReport(slot="main", phase="running", serving=OLD.ref, outcome=outcome)
    world.change(device, accepted=order, report=report)


def test_nothing_is_sent_outside_a_window_and_the_members_say_until_when() -> None:
    world = World(make_plan(2, windows=AT_NINE), FOUR)
    world.tick(8 * HOUR_S)
    assert world.sent() == []
    assert world.members["pi-1"].reason == "waits for the window that opens Thu 09:00 UTC"
    world.tick(HOUR_S)
    assert world.sent() == FOUR[0]
    assert world.members["pi-1"].reason == ""


def test_a_wave_that_opens_outside_a_window_waits_for_the_next() -> None:
    world = World(make_plan(2, windows=AT_NINE, soak_s=HOUR_S), [["pi-1"], ["pi-2"]])
    world.tick(9 * HOUR_S)
    world.settle("pi-1")
    world.tick(60.0)
    world.tick(HOUR_S)
    assert (world.rollout.wave, world.sent()) == (2, ["pi-1"])
    world.tick(23 * HOUR_S)
    assert world.sent() == ["pi-1", "pi-2"]


def test_what_is_taken_back_is_taken_back_at_once() -> None:
    world = World(make_plan(2, windows=AT_NINE, device_deadline_s=9 * HOUR_S), FOUR)
    world.tick(9 * HOUR_S)
    world.settle("pi-1", "reverted", "too slow")
    world.tick(2 * HOUR_S)
    assert world.rollout.state == "reverting"
    assert {document for _, document in world.documents.values()} == {OLD}


def test_no_more_are_sent_in_a_minute_than_the_plan_allows() -> None:
    world = World(make_plan(2, max_sends_per_minute=2), FOUR)
    world.tick()
    world.tick(30.0)
    assert world.sent() == ["pi-1", "pi-2"]
    world.tick(30.0)
    assert world.sent() == FOUR[0]


def test_a_clock_that_is_put_back_does_not_stop_the_sending() -> None:
    world = World(make_plan(2, max_sends_per_minute=2), FOUR)
    world.tick(20 * HOUR_S)
    assert world.tick(-12 * HOUR_S) == [act.Rewind()]
    world.tick(30.0)
    assert len(world.sent()) == 2
    world.tick(30.0)
    assert world.sent() == FOUR[0]


def test_a_failed_download_is_tried_again_and_counts_only_when_all_tries_failed() -> None:
    world = World(make_plan(2, retries={"download": 2}, retry_after_s=60.0, device_deadline_s=HOUR_S), [["pi-1"]])
    world.tick()
    for attempt in (1, 2):
        fail(world, "pi-1", "download")
        world.tick(1.0)
        assert (world.rollout.state, world.standings["pi-1"]) == ("running", "retrying")
        assert world.members["pi-1"].reason == "after download: no luck"
        world.tick(59.0)
        assert len(world.sent()) == attempt
        world.tick(1.0)
        assert len(world.sent()) == attempt + 1
    assert world.members["pi-1"].sent is not None
    assert (world.members["pi-1"].sent.previous, world.members["pi-1"].sent.attempts) == (OLD, 3)
    fail(world, "pi-1", "download")
    world.tick(1.0)
    assert world.rollout.state == "reverting"


def test_a_retry_that_succeeds_is_a_success() -> None:
    world = World(make_plan(2, retries={"download": 1}, retry_after_s=0.0), [["pi-1"]])
    world.tick()
    fail(world, "pi-1", "download")
    world.tick(1.0)
    world.tick(1.0)
    world.settle("pi-1")
    world.tick(1.0)
    assert world.rollout.state == "completed"


def test_who_becomes_able_after_its_wave_is_waited_for() -> None:
    births = {"pi-1": make_birth(), "pi-2": make_birth(TFLITE, protocol_versions=(9,)), "pi-3": make_birth()}
    world = World(make_plan(2), [["pi-1", "pi-2"], ["pi-3"]], births=births)
    world.tick()
    world.settle("pi-1")
    world.tick(1.0)
    assert (world.rollout.wave, world.standings["pi-2"]) == (2, "incompatible")
    world.change("pi-2", birth=make_birth())
    world.settle("pi-3")
    world.tick(1.0)
    assert (world.rollout.state, world.standings["pi-2"]) == ("running", "sent")
    assert "of earlier waves" in next(gate.reason for gate in world.gates if gate.gate == "settled")
    world.settle("pi-2")
    world.tick(1.0)
    assert world.rollout.state == "completed"


def test_every_attempt_counts_against_the_rate() -> None:
    plan = make_plan(2, max_sends_per_minute=4, retries={"download": 1}, retry_after_s=0.0)
    world = World(plan, [["pi-1", "pi-2", "pi-3"]])
    world.tick()
    fail(world, "pi-1", "download")
    fail(world, "pi-2", "download")
    for _ in range(3):
        world.tick(1.0)
    assert len(world.sent()) == 4, "three, and one attempt more"
    world.tick(60.0)
    assert len(world.sent()) == 5


@pytest.mark.parametrize("phase", ["verify", "self-test"])
def test_other_failures_are_not_tried_again(phase: str) -> None:
    world = World(make_plan(2, retries={"download": 5}), [["pi-1"]])
    world.tick()
    fail(world, "pi-1", phase)
    world.tick(1.0)
    assert world.rollout.state == "reverting"


def test_what_is_in_quarantine_is_never_sent_again() -> None:
    world = World(make_plan(2, retries={"probation": 5}), [["pi-1"]])
    world.tick()
    world.settle("pi-1", "reverted", "too slow")
    world.tick(1.0)
    assert world.rollout.state == "reverting"


def test_silence_can_be_answered_by_sending_again() -> None:
    world = World(make_plan(2, retries={"silent": 1}, retry_after_s=10.0, device_deadline_s=100.0), [["pi-1"]])
    world.tick()
    world.tick(100.0)
    assert world.standings["pi-1"] == "retrying"
    world.tick(10.0)
    assert len(world.sent()) == 2
    world.tick(100.0)
    assert world.rollout.state == "reverting"


def test_of_a_wave_that_breaks_only_the_wave_is_taken_back() -> None:
    world = World(make_plan(2, on_breach="revert-wave"), [["pi-1"], ["pi-2", "pi-3"]])
    world.tick()
    world.settle("pi-1")
    world.tick(1.0)
    world.settle("pi-2", "reverted", "too slow")
    world.tick(1.0)
    assert world.rollout.state == "reverting"
    assert [world.documents[device][1] for device in ("pi-1", "pi-2", "pi-3")] == [NEW, OLD, OLD]
    world.settle("pi-2")
    world.settle("pi-3")
    world.tick(1.0)
    assert world.rollout.state == "reverted"
    assert "taken back from wave 2 on, earlier waves keep it; 2 of 2 devices confirmed" in world.rollout.reason
    assert world.standings["pi-1"] == "committed"


def test_who_has_not_settled_in_an_earlier_wave_is_taken_back_with_the_wave() -> None:
    world = World(
        make_plan(2, on_breach="revert-wave", max_failures=1, device_deadline_s=100.0), [["pi-1", "pi-2"], ["pi-3"]]
    )
    world.tick()
    world.settle("pi-1")
    world.tick(100.0)
    assert (world.rollout.wave, world.standings["pi-2"]) == (2, "silent")
    world.settle("pi-3", "reverted", "too slow")
    world.tick(1.0)
    assert [world.documents[device][1] for device in ("pi-1", "pi-2", "pi-3")] == [NEW, OLD, OLD]


def test_late_joiners_come_in_with_the_last_wave_or_are_set_apart() -> None:
    world = World(make_plan(2, late_joiners="join", min_inferences=10), [["pi-1"], ["pi-2"]])
    world.tick()
    newcomers = [
        Candidate(device="pi-8", online=True, birth=make_birth()),
        Candidate(device="pi-9", online=True, birth=make_birth(TFLITE, protocol_versions=(9,))),
    ]
    actions = decide(world.rollout, list(world.members.values()), 1.0, newcomers)
    joins = [action for action in actions if isinstance(action, act.Join)]
    assert [(join.device, join.wave) for join in joins] == [("pi-8", 2), ("pi-9", 0)]
    assert "protocol" in joins[1].reason


def test_a_late_joiner_has_as_long_as_any_other_to_say_what_it_can_run() -> None:
    """Its deadline ran from the opening of the wave, and a board that came after it had failed before it spoke."""
    world = World(make_plan(2, late_joiners="join", min_inferences=10, device_deadline_s=100.0), [["pi-1"]])
    world.tick()
    world.settle("pi-1")
    world.tick(150.0)
    world.outside["pi-2"] = None
    world.tick(1.0)
    world.tick(99.0)
    assert (world.rollout.state, world.standings["pi-2"]) == ("running", "waiting")
    world.tick(2.0)
    assert world.rollout.state == "reverting"


def test_who_never_said_what_it_can_run_is_silent_and_stays_so() -> None:
    """It was silent and waiting by turns, and no wave with one that is allowed to fail came to its end."""
    births = {"pi-1": make_birth(), "pi-2": None}
    world = World(make_plan(2, max_failures=1, soak_s=15.0), [["pi-1", "pi-2"]], births=births)
    world.tick()
    world.settle("pi-1")
    for _ in range(3):
        world.tick(60.0)
    assert (world.rollout.state, world.standings["pi-2"]) == ("completed", "silent")


def test_without_leave_to_join_nobody_comes_in() -> None:
    world = World(make_plan(2), [["pi-1"]])
    newcomers = [Candidate(device="pi-8", online=True, birth=make_birth())]
    actions = decide(world.rollout, list(world.members.values()), 1.0, newcomers)
    assert not [action for action in actions if isinstance(action, act.Join)]


def test_a_rollout_does_not_end_in_the_tick_in_which_somebody_joins() -> None:
    world = World(make_plan(2, late_joiners="join"), [["pi-1"]])
    world.tick()
    world.settle("pi-1")
    newcomers = [Candidate(device="pi-8", online=True, birth=make_birth())]
    actions = decide(world.rollout, list(world.members.values()), 1.0, newcomers)
    assert not [action for action in actions if isinstance(action, act.Finish)]
    assert [
        action for action in decide(world.rollout, list(world.members.values()), 1.0) if isinstance(action, act.Finish)
    ]


def test_a_rollout_that_nobody_committed_is_never_completed_whatever_was_overruled() -> None:
    world = World(make_plan(2, max_failures=1), [["pi-1"]])
    world.rollout = replace(
        world.rollout, overrides=(Override(gate="devices", reason="it must go", actor="ann", at_s=0.0),)
    )
    world.tick()
    world.settle("pi-1", "reverted", "too slow")
    world.tick(1.0)
    assert (world.rollout.state, world.rollout.reason) == ("held", "0 committed, 1 failed, 0 cannot run it")


def test_an_overruled_gate_neither_waits_nor_breaks_and_says_who_overruled_it() -> None:
    world = World(make_plan(2, min_inferences=1000), [["pi-1"]])
    overruled = Override(gate="inferences", reason="no traffic at night", actor="ann", at_s=0.0)
    world.rollout = replace(world.rollout, overrides=(overruled,))
    world.tick()
    world.settle("pi-1")
    world.tick(1.0)
    assert world.rollout.state == "completed"
    told = next(result for result in world.gates if result.gate == "inferences")
    assert told.reason == "overruled by ann: no traffic at night; it said wait: 0 of 1000 needed inferences seen"
