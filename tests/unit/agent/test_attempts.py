"""A whole supervisor on the rig: an attempt on its way through the states, and how it ends."""

from pathlib import Path

import msgspec
import pytest

from tests.support.cargo_hold import DEVICE, FLEET, make_version
from tests.support.fake_worker import PASSED, Conduct
from tests.support.rig import Rig
from wherry.agent.config import WorkerConfig
from wherry.protocol import topics
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.up import Reported
from wherry.protocol.up.reported import Agreement

V1, V2, V3 = make_version(1), make_version(2), make_version(3)

V1, V2, V3 = make_version(1), make_version(2), make_version(3)


def _serving_version(rig: Rig) -> int | None:
    serving = rig.reported().slots[0].serving
    return None if serving is None else serving.version


def test_a_version_goes_through_all_its_states_and_is_committed(rig: Rig) -> None:
    rig.deploy(1, V1)
    states = [event.to_phase for event in rig.events("transition")]
    assert states == ["preflight", "download", "verify", "self-test", "switch", "probation", "running"]
    assert rig.events("transition")[4].reason == PASSED
    assert rig.events("committed")[0].ref == V1.assignment.ref
    assert rig.reported().generation == 1
    assert _serving_version(rig) == 1
    assert rig.link.subscribed == {topics.all_down(FLEET, DEVICE)}


def test_the_incumbent_serves_until_the_candidate_does(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.want(2, V2)
    assert rig.slot.state == "probation"
    assert [worker.artifact for worker in rig.yard.serving] == [V2.assignment.artifact]
    assert _serving_version(rig) == 2
    old = rig.yard.workers[0]
    assert [type(order).__name__ for order in old.orders] == ["Load", "SelfTest", "Serve", "Stop"]


def test_what_the_self_test_found_of_agreement_is_reported_while_the_version_is_there(rig: Rig) -> None:
    rig.deploy(1, V1)
    assert rig.reported().slots[0].agreement is None, "nothing served before"
    rig.conduct[V2.assignment.artifact] = Conduct(agreed=93)
    rig.publish(V2)
    rig.want(2, V2)
    found = Agreement(artifact=V2.assignment.artifact, against=V1.assignment.artifact, compared=100, agreed=93)
    assert rig.slot.state == "probation"
    assert rig.reported().slots[0].agreement == found
    rig.wait(70)
    assert (rig.slot.state, rig.reported().slots[0].agreement) == ("running", found)
    rig.cut()
    rig.boot()
    assert rig.reported().slots[0].agreement == found
    rig.conduct[V3.assignment.artifact] = Conduct(fails_test="out of tolerance")
    rig.deploy(3, V3)
    assert rig.reported().slots[0].agreement == found, "version 2 serves still"
    rig.deploy(4, V1)
    told = rig.reported().slots[0].agreement
    assert told is not None
    assert (told.artifact, told.against) == (V1.assignment.artifact, V2.assignment.artifact)


def test_what_was_found_against_another_incumbent_is_not_told_of_a_new_attempt(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(agreed=40)
    rig.deploy(2, V2)
    rig.deploy(3, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(agreed=99)
    rig.publish(V2)
    rig.want(4, V2)
    told = [(report.generation, report.slots[0].phase, report.slots[0].agreement) for report in rig.sent(Reported)]
    newest = [(phase, found and found.agreed) for generation, phase, found in told if generation == 4 and found]
    assert ("probation", 99) in newest
    assert ("download", 40) not in newest
    assert not [entry for entry in newest if entry[1] == 40]


def test_a_version_that_has_compared_nothing_has_no_agreement_of_another(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    assert rig.reported().slots[0].agreement is not None
    rig.cut()
    rig.config = msgspec.structs.replace(rig.config, worker=WorkerConfig(samples_bytes=0))
    rig.boot()
    rig.deploy(3, V3)
    assert _serving_version(rig) == 3
    assert rig.reported().slots[0].agreement is None


def test_a_slow_candidate_is_reverted_with_the_numbers_and_not_tried_again(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(latency_ms=41.2, inferences=24)
    rig.deploy(2, V2)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.result, outcome.phase, outcome.generation) == ("reverted", "probation", 2)
    assert outcome.reason == "p95 40.9 ms is 41.3 times the incumbent's 0.99 ms, limit 3"
    assert _serving_version(rig) == 1
    assert [entry.artifact for entry in rig.reported().slots[0].quarantine] == [V2.assignment.artifact]
    rig.link.asked.clear()
    rig.want(3, V2)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.result, outcome.generation) == ("rejected", 3)
    assert outcome.reason.startswith("in quarantine: p95 40.9 ms")
    assert rig.link.asked == []


def test_a_candidate_that_nobody_asks_is_reverted_but_may_come_again(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(inferences=0)
    rig.deploy(2, V2)
    rig.wait(70)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.result, outcome.reason) == ("reverted", "0 of 200 inferences within 60 s")
    assert rig.slot.quarantine == ()
    assert _serving_version(rig) == 1
    rig.conduct[V2.assignment.artifact] = Conduct()
    rig.deploy(3, V2)
    assert _serving_version(rig) == 2


def test_going_back_to_what_was_good_here_needs_no_requests(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    rig.conduct[V1.assignment.artifact] = Conduct(inferences=0)
    rig.deploy(3, V1)
    rig.wait(70)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.result, outcome.generation) == ("committed", 3)
    assert _serving_version(rig) == 1


@pytest.mark.parametrize(
    ("conduct", "result", "phase", "reason"),
    [
        (Conduct(refuses="no op VERSION 12"), "rejected", "self-test", "no op VERSION 12"),
        (Conduct(fails_test="2 of 3 out of tolerance"), "rejected", "self-test", "2 of 3 out of tolerance"),
        (Conduct(dies_at="load"), "rejected", "self-test", "killed by signal 11 (SIGSEGV)"),
        (Conduct(dies_at="self-test"), "rejected", "self-test", "the worker ended while testing: killed by signal 11"),
        (Conduct(silent_at="load"), "rejected", "self-test", "no answer while loading within its time limit"),
        (Conduct(silent_at="self-test"), "rejected", "self-test", "no answer while testing within its time limit"),
        (Conduct(dies_at="serve"), "rejected", "switch", "killed by signal 11 (SIGSEGV)"),
        (Conduct(errors=10), "reverted", "probation", "10 of 110 inferences failed (9.1%), limit 2.0%"),
    ],
)
def test_a_bad_candidate_is_taken_back_and_the_incumbent_serves(
    rig: Rig, conduct: Conduct, result: str, phase: str, reason: str
) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = conduct
    rig.deploy(2, V2)
    rig.wait(130, windows=False)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.result, outcome.phase) == (result, phase)
    assert reason in outcome.reason
    assert rig.slot.quarantined(V2.assignment.artifact) is not None
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]
    if result == "rejected":
        assert not any(type(order).__name__ == "Stop" for order in rig.yard.workers[0].orders)
    assert not (rig.store.directory / "blobs" / V2.assignment.artifact).exists()


def test_a_crash_in_probation_reverts(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.want(2, V2)
    rig.yard.serving[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.settle()
    assert rig.events("reverted")[0].reason == "the worker ended while serving: killed by signal 9 (SIGKILL)"
    assert _serving_version(rig) == 1


def test_a_bad_first_version_leaves_the_slot_empty(rig: Rig) -> None:
    rig.conduct[V1.assignment.artifact] = Conduct(errors=50)
    rig.deploy(1, V1)
    assert rig.slot.state == "empty"
    assert rig.yard.serving == []
    assert rig.events("reverted")


def test_what_cannot_run_here_is_refused_after_its_manifest_alone(rig: Rig) -> None:
    newer = make_version(4, floor="9.0.0")
    rig.deploy(1, newer)
    assert rig.events("rejected")[0].reason == "needs litert 9.0.0, this device has litert 2.3.0"
    assert not [topic for topic in rig.link.asked if newer.assignment.artifact in topic]
    assert rig.slot.quarantine == ()


def test_what_serves_already_is_acknowledged_and_nothing_is_done(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.link.asked.clear()
    rig.want(2, V1)
    assert rig.slot.outcome is not None
    assert (rig.slot.outcome.result, rig.slot.outcome.generation) == ("committed", 2)
    assert rig.reported().generation == 2
    assert rig.link.asked == []
    assert len(rig.events("committed")) == 1


def test_an_older_document_is_ignored(rig: Rig) -> None:
    rig.deploy(5, V1)
    rig.want(4, V2)
    assert rig.reported().generation == 5
    assert _serving_version(rig) == 1


def test_a_slot_that_the_document_leaves_out_stays_as_it_is(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.want(2)
    assert rig.reported().generation == 2
    assert _serving_version(rig) == 1


def test_going_back_to_the_version_before_downloads_nothing(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    rig.retained.clear()
    rig.want(3, V1)
    rig.wait(6)
    assert rig.slot.incumbent == V1.assignment.ref
    assert rig.slot.state == "running"


def test_a_newer_document_replaces_an_attempt_that_is_under_way(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.want(2, V2)
    assert rig.slot.state == "preflight"
    rig.deploy(3, V3)
    assert _serving_version(rig) == 3
    assert rig.link.subscribed == {topics.all_down(FLEET, DEVICE)}
    assert V2.assignment.artifact not in {path.name for path in (rig.store.directory / "parts").iterdir()}


def test_wanting_the_incumbent_during_probation_goes_back_to_it_without_blame(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.want(2, V2)
    rig.want(3, V1)
    rig.settle()
    assert rig.slot.state == "running"
    assert _serving_version(rig) == 1
    assert rig.slot.quarantine == ()
    assert rig.slot.outcome is not None
    assert (rig.slot.outcome.result, rig.slot.outcome.generation) == ("committed", 3)


def test_the_same_assignment_under_a_newer_generation_goes_on_and_answers_the_newer(rig: Rig) -> None:
    rig.publish(V1)
    rig.want(1, V1)
    assert rig.slot.state == "probation"
    rig.want(2, V1)
    rig.wait(6)
    assert rig.slot.outcome is not None
    assert (rig.slot.outcome.result, rig.slot.outcome.generation) == ("committed", 2)
    assert len(rig.yard.workers) == 1


def test_a_probation_that_never_gathers_evidence_is_a_breach(rig: Rig) -> None:
    version = make_version(7, health=HealthLimits(min_inferences=10_000, probation_s=1, deadline_s=30))
    rig.publish(version)
    rig.want(1, version)
    rig.wait(40)
    assert "of 10000 inferences within 30 s" in rig.events("reverted")[0].reason


def test_slots_do_not_disturb_each_other(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.config = msgspec.structs.replace(
        rig.config, slots={"main": rig.config.slots["main"], "side": rig.config.slots["main"]}, worker=WorkerConfig()
    )
    rig.boot()
    side = make_version(8, slot="side")
    rig.publish(V1)
    rig.publish(side)
    rig.conduct[side.assignment.artifact] = Conduct(errors=50)
    rig.want(1, V1, side)
    rig.wait(6)
    assert rig.slot.state == "running"
    assert rig.store.record.slot("side").state == "empty"
