"""A whole supervisor on the rig: a worker that serves and fails, and what takes its place."""

from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig

V1, V2, V3 = make_version(1), make_version(2), make_version(3)

V1, V2, V3 = make_version(1), make_version(2), make_version(3)


def _serving_version(rig: Rig) -> int | None:
    serving = rig.reported().slots[0].serving
    return None if serving is None else serving.version


def test_a_worker_that_falls_silent_while_it_serves_is_replaced(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.wait(120)
    assert rig.events("worker-crashed") == [], "one that says its windows is left alone"
    hung = rig.yard.serving[0]
    rig.wait(61, windows=False)
    assert rig.events("worker-crashed")[0].reason.startswith("no answer while serving within its time limit")
    assert hung.ended
    rig.wait(5)
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]


def test_a_crashed_worker_is_started_again_and_both_are_told(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.yard.serving[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.wait(1)
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]
    assert rig.events("worker-crashed")[0].ref == V1.assignment.ref
    assert len(rig.events("worker-recovered")) == 1


def test_an_incumbent_that_keeps_failing_gives_way_to_the_last_good_and_then_to_safe_mode(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    rig.conduct[V2.assignment.artifact] = Conduct(dies_at="load")
    rig.yard.serving[0].die(-9, "killed")
    rig.wait(30)
    assert rig.slot.state == "running"
    assert _serving_version(rig) == 1
    assert rig.slot.quarantined(V2.assignment.artifact) is not None
    rig.conduct[V1.assignment.artifact] = Conduct(dies_at="load")
    rig.yard.serving[0].die(-9, "killed")
    rig.wait(30)
    assert rig.slot.state == "safe-mode"
    assert rig.reported().slots[0].serving is None
    assert "5 times in a row" in rig.events("safe-mode")[0].reason
    started = len(rig.yard.workers)
    rig.wait(600)
    assert len(rig.yard.workers) == started
    rig.deploy(3, V3)
    assert _serving_version(rig) == 3


def test_in_safe_mode_a_candidate_that_fails_does_not_bring_the_failed_incumbent_back(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V1.assignment.artifact] = Conduct(dies_at="load")
    rig.yard.serving[0].die(-9, "killed")
    rig.wait(30)
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, V2)
    assert rig.events("reverted")[-1].ref == V2.assignment.ref
    assert rig.slot.state == "safe-mode"
    assert rig.yard.serving == []
    rig.conduct.clear()
    rig.order("r1", "restart-slot")
    assert rig.slot.state == "running"


def test_a_failed_incumbent_is_tried_once_more_when_the_agent_starts(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V1.assignment.artifact] = Conduct(dies_at="load")
    rig.yard.serving[0].die(-9, "killed")
    rig.wait(30)
    rig.cut().boot()
    rig.wait(300)
    assert rig.slot.state == "safe-mode"
    assert len(rig.yard.workers) == rig.config.worker.max_failures
    rig.conduct.clear()
    rig.cut().boot()
    assert rig.slot.state == "running"
    assert _serving_version(rig) == 1
    assert len(rig.yard.serving) == 1


def test_a_runtime_that_is_missing_at_one_start_costs_no_version_its_place(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    rig.cut().boot(runtimes=())
    rig.wait(600)
    assert rig.yard.workers == []
    assert (rig.slot.state, rig.slot.incumbent, rig.slot.last_good) == ("running", V2.assignment.ref, V1.assignment.ref)
    assert rig.slot.quarantine == ()
    assert [event.reason for event in rig.events("error")] == [
        "does not serve: no runtime on this device runs digits:2"
    ]
    rig.cut().boot()
    assert [worker.artifact for worker in rig.yard.serving] == [V2.assignment.artifact]


def test_while_no_process_can_be_started_the_incumbent_is_tried_ever_more_seldom(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.yard.is_full = True
    rig.yard.serving[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.wait(120)
    early = len(rig.yard.workers)
    rig.wait(120)
    assert 6 <= len(rig.yard.workers) - early <= 12, "half of the limit of 30 s between two tries"
    assert (rig.slot.state, rig.slot.quarantine) == ("running", ())
    assert [event.reason for event in rig.events("error")] == [
        "does not serve: could not be started: Cannot allocate memory"
    ]
    rig.yard.is_full = False
    rig.wait(31)
    assert len(rig.yard.serving) == 1
    assert len(rig.events("worker-recovered")) == 1


def test_a_candidate_that_the_board_cannot_start_is_refused_without_blame(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.yard.is_full = True
    rig.deploy(2, V2)
    assert rig.events("rejected")[0].reason == "could not be started: Cannot allocate memory"
    assert rig.slot.quarantine == ()
    assert _serving_version(rig) == 1
    rig.yard.is_full = False
    rig.want(3, V2)
    rig.wait(6)
    assert _serving_version(rig) == 2


def test_a_probation_that_the_board_cannot_go_on_with_goes_back_without_blame(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.want(2, V2)
    assert rig.slot.state == "probation"
    rig.cut().boot(runtimes=())
    assert rig.events("reverted")[0].reason == "no runtime on this device runs digits:2"
    assert (rig.slot.state, rig.slot.incumbent) == ("running", V1.assignment.ref)
    assert rig.slot.quarantine == ()
    rig.cut().boot()
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]


def test_a_worker_that_recovers_for_long_is_counted_from_one_again(rig: Rig) -> None:
    rig.deploy(1, V1)
    for _ in range(12):
        rig.yard.serving[0].die(-9, "killed")
        rig.wait(40)
    assert rig.slot.state == "running"
    assert len(rig.events("worker-recovered")) == 12


def test_after_a_turn_that_took_long_nobody_counts_as_silent_who_has_spoken(rig: Rig) -> None:
    """As while a large file is read from a slow card."""
    rig.deploy(1, V1)
    for _ in range(90):
        rig.clock.at_s += 1
        rig.yard.tick()
    rig.settle()
    rig.wait(20)
    assert rig.events("worker-crashed") == []
    assert rig.slot.state == "running"


def test_a_board_that_slept_waits_for_its_workers_to_speak(rig: Rig) -> None:
    """The boot clock went on, and nobody could say a word."""
    rig.deploy(1, V1)
    rig.clock.at_s += 3600
    rig.settle()
    rig.wait(20)
    assert rig.events("worker-crashed") == []
    assert len(rig.yard.serving) == 1


def test_a_worker_that_is_silent_after_the_board_slept_is_replaced(rig: Rig) -> None:
    """The negative control."""
    rig.deploy(1, V1)
    rig.clock.at_s += 3600
    rig.settle()
    rig.wait(20, windows=False)
    assert len(rig.events("worker-crashed")) == 1
