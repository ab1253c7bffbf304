"""A whole supervisor with fake workers and a fake link: what a device does in each case."""

import gzip
from pathlib import Path

import msgspec
import pytest

from tests.support.cargo_hold import DEVICE, FLEET, Version, desire, make_version
from tests.support.fake_worker import PASSED, Conduct
from tests.support.rig import Rig
from wherry.agent.adapters.http_blocks import HttpBlock
from wherry.agent.config import ArtifactsConfig, WorkerConfig
from wherry.agent.core.record import DeviceRecord, SlotRecord, reported
from wherry.protocol import topics
from wherry.protocol.blob import hash_list, split
from wherry.protocol.codec import encode
from wherry.protocol.down import Action
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Birth, Event, Reported, Status, Telemetry, Upload
from wherry.protocol.up.reported import Outcome, QuarantineEntry

V1, V2, V3 = make_version(1), make_version(2), make_version(3)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "state").boot()


def _artifact_topic(version: Version, index: int) -> str:
    return topics.block(FLEET, version.assignment.artifact, index)


def _serving_version(rig: Rig) -> int | None:
    serving = rig.reported().slots[0].serving
    return None if serving is None else serving.version


def test_a_connection_begins_with_status_birth_and_reported(rig: Rig) -> None:
    kinds = [type(message) for message in rig.link.sent[:4]]
    assert kinds == [Status, Birth, Reported, Event]
    assert rig.reported().slots[0].phase == "empty"


def test_a_version_goes_through_all_its_states_and_is_committed(rig: Rig) -> None:
    rig.deploy(1, V1)
    states = [event.to_phase for event in rig.events("transition")]
    assert states == ["preflight", "download", "verify", "self-test", "switch", "probation", "running"]
    assert rig.events("transition")[4].reason == PASSED
    assert rig.events("committed")[0].ref == V1.assignment.ref
    assert rig.reported().generation == 1
    assert _serving_version(rig) == 1
    assert rig.link.subscribed == {topics.all_down(FLEET, DEVICE)}


@pytest.mark.parametrize(
    "topic",
    [
        topics.down(FLEET, "boat-2", "desired"),
        topics.down("other", DEVICE, "desired"),
        topics.up(FLEET, "boat-2", "status"),
        topics.up(FLEET, DEVICE, "reported"),
    ],
)
def test_what_is_meant_for_somebody_else_is_passed_over(rig: Rig, topic: str) -> None:
    """amqtt 0.12 gives a client that connects what any other client has subscribed to."""
    rig.publish(V1)
    rig.deliver(topic, encode(desire(1, V1)))
    assert rig.slot.state == "empty"
    assert rig.reported().generation == 0
    assert rig.logs.take()[0] == ()


def test_the_incumbent_serves_until_the_candidate_does(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.want(2, V2)
    assert rig.slot.state == "probation"
    assert [worker.artifact for worker in rig.yard.serving] == [V2.assignment.artifact]
    assert _serving_version(rig) == 2
    old = rig.yard.workers[0]
    assert [type(order).__name__ for order in old.orders] == ["Load", "SelfTest", "Serve", "Stop"]


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


def test_a_damaged_block_is_asked_for_again_and_reported(rig: Rig) -> None:
    rig.link.damage = {_artifact_topic(V1, 1): 1}
    rig.deploy(1, V1)
    damaged, repaired = rig.events("block-damaged")[0], rig.events("block-repaired")[0]
    assert (damaged.digest, damaged.block, damaged.transport) == (V1.assignment.artifact, 1, "mqtt")
    assert (repaired.block, repaired.transport) == (1, "mqtt")
    assert _serving_version(rig) == 1


def test_a_block_that_the_controller_clears_is_not_damaged(rig: Rig) -> None:
    rig.publish(V1)
    rig.retained.pop(_artifact_topic(V1, 1))
    rig.want(1, V1)
    rig.link.put(_artifact_topic(V1, 1), b"")
    rig.settle()
    assert rig.events("block-damaged") == []


def test_a_report_that_would_be_too_long_says_less_of_the_quarantine(rig: Rig) -> None:
    long = tuple(QuarantineEntry(artifact=f"{number:064x}", reason="é" * 500) for number in range(16))
    rig.store.save(rig.store.record.with_slot("main", SlotRecord(quarantine=long)))
    rig.want(1)
    assert [len(entry.reason) for entry in rig.reported().slots[0].quarantine] == [60] * 16


def test_the_longest_report_of_all_can_be_sent() -> None:
    name = "n" * 63
    ref = VersionRef(model=name, version=10**9, variant=name, manifest="0" * 64, artifact="1" * 64)
    long = tuple(QuarantineEntry(artifact=f"{number:064x}", reason="\N{GRINNING FACE}" * 500) for number in range(16))
    outcome = Outcome(
        ref=ref, epoch=10**9, generation=10**9, result="reverted", phase="probation", reason=long[0].reason
    )
    slot = SlotRecord(state="safe-mode", incumbent=ref, outcome=outcome, quarantine=long)
    names = [f"{number}{name}"[:63] for number in range(8)]
    assert encode(reported(DeviceRecord(slots=dict.fromkeys(names, slot)), names))


def test_a_block_that_stays_damaged_comes_over_http(rig: Rig) -> None:
    rig.link.damage = {_artifact_topic(V1, 1): 99}
    rig.publish(V1)
    rig.want(1, V1, url="http://controller/blobs")
    assert [(url, index) for url, _, index in rig.http.wanted] == [("http://controller/blobs", 1)]
    ref, data = V1.blobs[1]
    rig.inbox.put(HttpBlock(digest=ref.digest, index=1, data=split(data)[1]))
    rig.wait(6)
    assert _serving_version(rig) == 1
    assert rig.events("block-repaired")[0].transport == "http"


def test_with_nothing_on_the_broker_everything_comes_over_http(rig: Rig) -> None:
    blobs = {ref.digest: (ref, data) for ref, data in V1.blobs}
    rig.want(1, V1, url="http://controller/blobs")
    for _ in range(60):
        rig.wait(1, windows=False)
        while rig.http.wanted:
            _, ref, index = rig.http.wanted.pop(0)
            data = blobs[ref.digest][1]
            answer = hash_list(data) if index is None else split(data)[index]
            rig.inbox.put(HttpBlock(digest=ref.digest, index=index, data=answer))
        rig.settle()
    rig.wait(6)
    assert _serving_version(rig) == 1


def test_requests_over_http_end_with_the_download_that_made_them(rig: Rig) -> None:
    rig.want(1, V1, url="http://controller/blobs")
    rig.wait(20, windows=False)
    assert {ref.digest for _, ref, _ in rig.http.wanted} == {V1.assignment.manifest.digest}
    rig.want(2, V2, url="http://controller/blobs")
    assert rig.http.wanted == []


def test_a_download_is_given_up_after_its_limit(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.config = msgspec.structs.replace(rig.config, artifacts=ArtifactsConfig(disk_reserve_bytes=0, give_up_s=30))
    rig.boot()
    rig.want(1, V1)
    rig.wait(40)
    assert rig.events("rejected")[0].reason == "no block arrived for 30 s, 0 of 1 are here"
    assert rig.slot.state == "empty"


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
    _order(rig, "r1", "restart-slot")
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


def test_offline_the_events_wait_on_disk_and_go_out_in_order(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.link.disconnect()
    rig.settle()
    rig.yard.serving[0].die(-9, "killed")
    rig.wait(2)
    assert len(rig.store.events) == 2
    rig.link.connect()
    rig.settle()
    assert [event.kind for event in rig.sent(Event)][-2:] == ["worker-crashed", "worker-recovered"]
    assert len(rig.store.events) == 0
    numbers = [event.seq for event in rig.sent(Event)]
    assert numbers == sorted(set(numbers))


def test_the_broker_must_be_reached_before_a_commit(rig: Rig) -> None:
    rig.publish(V1)
    rig.want(1, V1)
    rig.link.online = False
    rig.supervisor.runners["main"]._trial._broker_reached = False
    rig.wait(100)
    assert rig.slot.state == "probation"
    rig.link.connect()
    rig.wait(1)
    assert rig.slot.state == "running"


def test_telemetry_names_version_and_phase_and_merges_the_windows(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.config = msgspec.structs.replace(rig.config, telemetry_window_s=5.0)
    rig.boot()
    rig.deploy(1, V1)
    rig.wait(10)
    telemetry = [entry for entry in rig.sent(Telemetry) if entry.phase == "running" and entry.inferences == 500]
    assert telemetry
    assert telemetry[0].ref == V1.assignment.ref
    assert telemetry[0].latency.count == 500
    assert [entry.window for entry in rig.sent(Telemetry)] == list(range(len(rig.sent(Telemetry))))


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"type":"action"}', b"\xff" * 10, b"[" * 16_000, b"x" * 20_000]
)
def test_a_message_that_is_none_of_ours_changes_nothing(rig: Rig, payload: bytes) -> None:
    rig.deploy(1, V1)
    before = rig.store.record
    rig.send(topics.down(FLEET, DEVICE, "desired"), payload)
    rig.send(topics.down(FLEET, DEVICE, "action"), payload)
    assert rig.store.record == before


# One-shot orders


def _order(rig: Rig, action_id: str, kind: str, **fields: object) -> None:
    action = msgspec.convert(
        {"type": "action", "id": action_id, "kind": kind, "not_after_s": rig.clock.wall_s() + 60, **fields}, Action
    )
    rig.send(topics.down(FLEET, DEVICE, "action"), encode(action))


def test_a_restart_is_done_once_by_its_id(rig: Rig) -> None:
    rig.deploy(1, V1)
    _order(rig, "r1", "restart-slot")
    _order(rig, "r1", "restart-slot")
    assert len(rig.yard.workers) == 2
    assert len(rig.yard.serving) == 1
    assert [event.action_id for event in rig.events("action-done")] == ["r1"]


def test_an_order_is_not_repeated_after_a_restart_of_the_agent(rig: Rig) -> None:
    rig.deploy(1, V1)
    _order(rig, "r1", "restart-slot")
    rig.cut().boot()
    _order(rig, "r1", "restart-slot")
    assert len(rig.yard.workers) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "restart-slot", "not_after_s": 5.0}, "after its time, by this device's clock"),
        ({"kind": "restart-slot", "slot": "other"}, "this device has no slot other"),
        ({"kind": "restart-slot"}, "slot main is in empty"),
        ({"kind": "self-test"}, "slot main serves nothing"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_the_reason(
    rig: Rig, fields: dict[str, object], reason: str
) -> None:
    _order(rig, "a1", str(fields.pop("kind")), **fields)
    assert reason in rig.events("action-refused")[0].reason


def test_forgetting_a_quarantine_lets_the_version_be_tried_again(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, V2)
    rig.conduct.clear()
    _order(rig, "f1", "forget-quarantine", artifact=V2.assignment.artifact)
    assert rig.reported().slots[0].quarantine == ()
    rig.want(3, V2)
    rig.wait(6)
    assert _serving_version(rig) == 2


def test_a_self_test_runs_beside_what_serves(rig: Rig) -> None:
    rig.deploy(1, V1)
    _order(rig, "t1", "self-test")
    assert [event.action_id for event in rig.events("action-done")] == ["t1"]
    assert [worker.role for worker in rig.yard.workers] == ["candidate", "check"]
    assert len(rig.yard.serving) == 1
    rig.conduct[V1.assignment.artifact] = Conduct(fails_test="1 of 1 out of tolerance")
    _order(rig, "t2", "self-test")
    assert rig.events("action-refused")[0].reason == "1 of 1 out of tolerance"


def test_logs_are_sent_when_asked_for(rig: Rig) -> None:
    rig.logs(None, "info", {"level": "info", "event": "hello", "at_s": 1.0, "slot": "main"})
    _order(rig, "l1", "collect-logs")
    assert b'"event":"hello"' in gzip.decompress(b"".join(block.data for block in rig.sent(Upload)))
    assert [event.action_id for event in rig.events("action-done")] == ["l1"]


# A slot with limits of its own


def test_a_probation_that_never_gathers_evidence_is_a_breach(rig: Rig) -> None:
    version = make_version(7, health=HealthLimits(min_inferences=10_000, probation_s=1, deadline_s=30))
    rig.publish(version)
    rig.want(1, version)
    rig.wait(40)
    assert "of 10000 inferences within 30 s" in rig.events("reverted")[0].reason


def test_files_of_the_feed_that_cannot_be_used_are_not_held_against_a_version(rig: Rig) -> None:
    rig.conduct[V1.assignment.artifact] = Conduct(bad_files=50, remark="b.npz: File is not a zip file")
    rig.deploy(1, V1)
    assert rig.slot.state == "running"
    rig.wait(20)
    assert sum(window.errors for window in rig.sent(Telemetry)) == 0


def test_a_probation_without_evidence_says_what_ails_the_feed(rig: Rig) -> None:
    rig.conduct[V1.assignment.artifact] = Conduct(inferences=0, bad_files=50, remark="b.npz: File is not a zip file")
    rig.deploy(1, V1)
    assert rig.slot.state == "probation"
    rig.wait(60)
    assert rig.events("reverted")[0].reason == ("0 of 200 inferences within 60 s; feed: b.npz: File is not a zip file")


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
