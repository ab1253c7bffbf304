"""The engine on small fleets, one behaviour a test; the invariants over any fleet are in tests/properties."""

import pytest
from msgspec.structs import replace

from tests.support.controller_values import make_plan
from tests.support.rollout_world import NEW, OLD, World
from wherry.controller.core import actions as act
from wherry.protocol.up.reported import Outcome, SlotReport

WAVES = [["pi-1"], ["pi-2", "pi-3"]]


def test_only_the_first_wave_is_sent_at_the_start() -> None:
    world = World(make_plan(2), WAVES)
    world.tick()
    assert world.sent() == ["pi-1"]
    assert world.standings == {"pi-1": "sent", "pi-2": "waiting", "pi-3": "waiting"}


def test_wave_after_wave_to_the_end() -> None:
    world = World(make_plan(2), WAVES)
    for _ in range(4):
        world.tick(1.0)
        for device in world.sent():
            world.settle(device)
    assert world.rollout.state == "completed"
    assert world.rollout.reason == "3 committed, 0 failed, 0 cannot run it"


def test_progress_is_told() -> None:
    world = World(make_plan(2), WAVES)
    world.tick()
    world.accept("pi-1", "download")
    world.tick(1.0)
    assert world.standings["pi-1"] == "in-progress"
    assert world.members["pi-1"].reason == "download"


def test_silence_is_failure_at_the_deadline_and_not_before() -> None:
    world = World(make_plan(2, device_deadline_s=100.0), WAVES)
    world.tick()
    world.tick(99.9)
    assert world.rollout.state == "running"
    world.tick(0.1)
    assert world.rollout.state == "reverting"
    assert "pi-1 silent (not settled 100 s after it was sent; not accepted by the device)" in world.rollout.reason


def test_a_revert_takes_the_version_back_also_from_who_never_answered() -> None:
    world = World(make_plan(2), [["pi-1", "pi-2"], ["pi-3"]])
    world.tick()
    world.settle("pi-1", "reverted", "too slow")
    world.tick(1.0)
    assert [world.documents[device][1] for device in ("pi-1", "pi-2", "pi-3")] == [OLD, OLD, OLD]
    assert world.documents["pi-2"][0] > world.documents["pi-3"][0]
    assert world.rollout.state == "reverting"
    world.settle("pi-1")
    world.settle("pi-2")
    world.tick(1.0)
    assert world.rollout.state == "reverted"
    assert world.rollout.reason.endswith("2 of 2 devices confirmed that it is taken back")
    assert world.standings == {"pi-1": "reverted", "pi-2": "sent", "pi-3": "waiting"}


def test_a_revert_ends_although_a_device_stays_away() -> None:
    world = World(make_plan(2), [["pi-1", "pi-2"]])
    world.tick()
    world.settle("pi-1", "rejected", "bad")
    world.tick(1.0)
    world.settle("pi-1")
    world.tick(99.0)
    assert world.rollout.state == "reverting"
    world.tick(1.0)
    assert world.rollout.state == "reverted"
    assert "not heard from: pi-2" in world.rollout.reason


def test_a_removed_device_is_not_waited_for_and_has_confirmed_nothing() -> None:
    world = World(make_plan(2), [["pi-1", "pi-2"]])
    world.tick()
    world.settle("pi-1", "rejected", "bad")
    world.tick(1.0)
    world.settle("pi-1")
    world.change("pi-2", known=False)
    world.tick(1.0)
    assert world.rollout.state == "reverted"
    assert world.rollout.reason.endswith("1 of 2 devices confirmed that it is taken back")


def test_hold_stops_and_leaves_the_version_where_it_has_settled() -> None:
    world = World(make_plan(2, on_breach="hold"), [["pi-1", "pi-2"], ["pi-3"]])
    world.tick()
    world.settle("pi-1")
    world.settle("pi-2", "reverted", "too slow")
    world.tick(1.0)
    assert world.rollout.state == "held"
    assert [world.documents[device][1] for device in ("pi-1", "pi-2", "pi-3")] == [NEW, NEW, OLD]
    assert world.tick(1000.0) == []


@pytest.mark.parametrize("begun", [False, True])
def test_hold_leaves_nobody_behind_who_would_begin_or_finish_unwatched(*, begun: bool) -> None:
    world = World(make_plan(2, on_breach="hold"), [["pi-1", "pi-2"]])
    world.tick()
    world.settle("pi-1", "reverted", "too slow")
    if begun:
        world.accept("pi-2", "probation")
    world.tick(1.0)
    assert world.rollout.state == "held"
    assert world.documents["pi-2"][1] == OLD


def test_a_silent_device_does_not_begin_after_a_hold() -> None:
    world = World(make_plan(2, on_breach="hold"), [["pi-1"]])
    world.tick()
    world.tick(200.0)
    assert (world.rollout.state, world.standings) == ("held", {"pi-1": "silent"})
    assert world.documents["pi-1"][1] == OLD


def test_a_version_that_is_fetched_once_more_stays_committed() -> None:
    world = World(make_plan(2), [["pi-1"], ["pi-2"]])
    world.tick()
    world.settle("pi-1")
    world.tick(1.0)
    report = world.members["pi-1"].report
    assert report is not None
    world.change("pi-1", report=replace(report, phase="download", serving=OLD.ref, candidate=NEW.ref))
    world.settle("pi-2")
    world.tick(200.0)
    assert world.rollout.state == "completed"


def test_a_breach_acts_while_paused_and_nothing_is_sent() -> None:
    world = World(make_plan(2), WAVES)
    world.tick()
    world.rollout = replace(world.rollout, state="paused")
    world.settle("pi-1")
    world.tick(1.0)
    assert world.sent() == ["pi-1"]
    world.settle("pi-1", "reverted", "crashed after all")
    world.tick(1.0)
    assert world.rollout.state == "reverting"


def test_a_late_return_counts_as_what_it_is() -> None:
    world = World(make_plan(2, max_failures=1, min_devices=2), [["pi-1", "pi-2", "pi-3"]])
    world.tick()
    world.settle("pi-1")
    world.accept("pi-2")
    world.accept("pi-3")
    world.tick(50.0)
    world.settle("pi-2")
    world.rollout = replace(world.rollout, state="paused")
    world.tick(60.0)
    assert world.standings["pi-3"] == "silent"
    world.settle("pi-3")
    world.tick(1.0)
    assert world.standings["pi-3"] == "committed"


def test_an_outcome_of_an_earlier_document_says_nothing() -> None:
    world = World(make_plan(2), WAVES)
    stale = Outcome(ref=NEW.ref, epoch=1, generation=1, result="reverted", phase="probation", reason="last month")
    world.change("pi-1", report=SlotReport(slot="main", phase="running", serving=OLD.ref, outcome=stale))
    world.tick()
    world.change("pi-1", accepted=world.documents["pi-1"][0])
    world.tick(1.0)
    assert world.standings["pi-1"] == "in-progress"


def test_safe_mode_from_before_is_not_the_new_versions_fault() -> None:
    world = World(make_plan(2), WAVES)
    world.change("pi-1", report=SlotReport(slot="main", phase="safe-mode"))
    world.tick()
    world.change("pi-1", accepted=world.documents["pi-1"][0])
    world.tick(1.0)
    assert world.standings["pi-1"] == "in-progress"


def test_a_device_that_falls_into_safe_mode_after_its_commit_has_failed() -> None:
    world = World(make_plan(2), WAVES)
    world.tick()
    world.settle("pi-1")
    report = world.members["pi-1"].report
    assert report is not None
    world.change("pi-1", report=replace(report, phase="safe-mode", serving=None))
    actions = world.tick(1.0)
    assert act.Restore(device="pi-1") in actions
    assert world.standings["pi-1"] == "reverted"


@pytest.mark.parametrize("on_breach", ["revert", "revert-wave", "hold"])
def test_a_deadline_that_passes_for_want_of_evidence_holds(on_breach: str) -> None:
    """With the deadline of the default plan: a canary that commits and goes away is not waited for without end."""
    world = World(make_plan(2, min_inferences=200, on_breach=on_breach), WAVES)
    world.tick()
    world.settle("pi-1")
    world.tick(86_399.0)
    assert world.rollout.state == "running"
    world.tick(1.0)
    assert world.rollout.state == "held"
    assert "deadline: wave 1 was not through after 86400 s" in world.rollout.reason
    assert [world.documents[device][1] for device in ("pi-1", "pi-2")] == [NEW, OLD]


def test_without_the_deadline_it_waits_without_end() -> None:
    """The negative control."""
    world = World(make_plan(2, min_inferences=200, wave_deadline_s=None), WAVES)
    world.tick()
    world.settle("pi-1")
    world.tick(100 * 86_400.0)
    assert world.rollout.state == "running"


def test_a_few_errors_that_may_be_chance_are_held_at_the_deadline() -> None:
    world = World(make_plan(2, min_inferences=0), WAVES)
    world.tick()
    world.settle("pi-1")
    world.answer("pi-1", 9, errors=1)
    world.tick(86_400.0)
    assert world.rollout.state == "held"


def test_a_device_that_still_tries_at_the_deadline_is_silent() -> None:
    world = World(make_plan(2, wave_deadline_s=50.0, device_deadline_s=100.0), WAVES)
    world.tick()
    world.accept("pi-1", "download")
    world.tick(50.0)
    assert world.rollout.state == "reverting"


def test_a_deadline_beside_another_breach_reverts() -> None:
    world = World(make_plan(2, wave_deadline_s=50.0), WAVES)
    world.tick()
    world.settle("pi-1", "reverted", "too slow")
    world.tick(50.0)
    assert world.rollout.state == "reverting"
