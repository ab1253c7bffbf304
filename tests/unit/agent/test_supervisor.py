"""A whole supervisor on the rig: what it says, what it takes, and what it passes over."""

from pathlib import Path

import msgspec
import pytest

from tests.support.cargo_hold import DEVICE, FLEET, desire, make_version
from tests.support.rig import Rig
from wherry.agent.core.record import DeviceRecord, SlotRecord, reported
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Birth, Event, Reported, Status, Telemetry
from wherry.protocol.up.reported import Outcome, QuarantineEntry

V1, V2, V3 = make_version(1), make_version(2), make_version(3)

V1 = make_version(1)


def test_a_connection_begins_with_status_birth_and_reported(rig: Rig) -> None:
    kinds = [type(message) for message in rig.link.sent[:4]]
    assert kinds == [Status, Birth, Reported, Event]
    assert rig.reported().slots[0].phase == "empty"


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
    rig.wait(50)
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
