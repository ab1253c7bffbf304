"""A small disk that is really full, at any moment of an update: what serves goes on, and the next update finds room."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.cargo_hold import DEVICE, FLEET, Version, make_version
from tests.support.fake_worker import Conduct
from tests.support.loop_disk import NoLoopDisk
from tests.support.rig import Rig
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.update_voyage import rest
from wherry.agent.adapters.store.parts import Parts
from wherry.agent.config import ArtifactsConfig, Config
from wherry.protocol import topics
from wherry.protocol.up import Event

pytestmark = pytest.mark.slow

MIB = 1 << 20
V1 = make_version(1)
V2 = make_version(2, artifact=b"artifact 2 " * (MIB // 11))
V3 = make_version(3, artifact=b"artifact 3 " * (MIB // 11))


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(small_disk(tmp_path, request.param))
        except NoLoopDisk as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture
def rig(disk: SmallDisk) -> Iterator[Rig]:
    """An agent that serves the first version."""
    rig = Rig(disk.path, _config(disk, reserve_bytes=0)).boot()
    rig.deploy(1, V1)
    yield rig
    rig.cut()


def _config(disk: SmallDisk, reserve_bytes: int) -> Config:
    limits = ArtifactsConfig(disk_reserve_bytes=reserve_bytes)
    return Config(device=DEVICE, fleet=FLEET, state_dir=str(disk.path), artifacts=limits)


def _served(rig: Rig) -> list[str]:
    return [worker.artifact for worker in rig.yard.serving]


def _parts(disk: SmallDisk) -> list[str]:
    return [path.name for path in (disk.path / "parts").iterdir()]


def _download_until(rig: Rig, version: Version, held_back: int) -> dict[str, bytes]:
    """Let a download begin, and give the messages that did not come yet."""
    messages = version.messages()
    late = [topics.block(FLEET, version.assignment.artifact, index) for index in range(held_back)]
    for topic, payload in messages.items():
        if topic not in late:
            rig.link.put(topic, payload)
    rig.want(2, version)
    assert rig.slot.state == "download"
    return {topic: messages[topic] for topic in late}


def _fill_in_the_middle(rig: Rig, disk: SmallDisk, version: Version) -> None:
    late = _download_until(rig, version, held_back=4)
    disk.fill()
    for topic, payload in late.items():
        rig.send(topic, payload)
    rest(rig)


def test_an_update_that_would_eat_the_reserve_is_refused_with_the_reason(disk: SmallDisk) -> None:
    rig = Rig(disk.path, _config(disk, reserve_bytes=MIB)).boot()
    rig.deploy(1, V1)
    disk.fill(leave_bytes=2 * MIB)
    rig.deploy(2, V2)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.result, outcome.phase) == ("rejected", "preflight")
    assert outcome.reason == "needs 1.0 MiB of disk, 1.0 MiB can be spared"
    assert _served(rig) == [V1.assignment.artifact]
    disk.relieve()
    rig.deploy(3, V2)
    assert _served(rig) == [V2.assignment.artifact]
    rig.cut()


def test_a_disk_that_fills_in_the_middle_of_a_download_ends_it_and_the_part_is_swept(rig: Rig, disk: SmallDisk) -> None:
    rig.troubles = []
    _fill_in_the_middle(rig, disk, V2)
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.result, outcome.phase) == ("rejected", "download")
    assert "No space left on device" in outcome.reason
    assert _served(rig) == [V1.assignment.artifact]
    assert _parts(disk) == []
    disk.relieve()
    rig.deploy(3, V2)
    assert _served(rig) == [V2.assignment.artifact]


def test_the_room_that_a_failed_download_took_is_there_for_the_next_one(
    rig: Rig, disk: SmallDisk, tried: Tried
) -> None:
    """On a disk that stays as full as it is, and on which both do not fit."""
    rig.troubles = []
    _fill_in_the_middle(rig, disk, V2)
    tried(f"{disk.free_bytes} bytes free afterwards")
    fitting = make_version(3, artifact=b"artifact 3 " * (disk.free_bytes * 3 // 4 // 11))
    rig.deploy(3, fitting)
    assert _served(rig) == [fitting.assignment.artifact]


def test_a_part_that_is_not_swept_keeps_the_next_update_out(
    rig: Rig, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(Parts, "sweep", lambda self, keep=(): 0)
    rig.troubles = []
    _fill_in_the_middle(rig, disk, V2)
    assert _parts(disk) != []
    rig.deploy(3, make_version(3, artifact=b"artifact 3 " * 40_000))
    assert _served(rig) == [V1.assignment.artifact]


def test_the_record_is_saved_on_a_disk_without_a_byte_left(rig: Rig, disk: SmallDisk) -> None:
    """Both copies are there already, and are written over in place: a probation ends although the disk is full."""
    rig.publish(V2)
    rig.want(2, V2)
    assert rig.slot.state == "probation"
    disk.fill()
    rig.troubles = []
    rest(rig)
    assert rig.slot.state == "running"
    rig.cut().boot()
    assert rig.slot.incumbent == V2.assignment.ref
    assert _served(rig) == [V2.assignment.artifact]


def test_a_bad_version_is_taken_back_on_a_disk_without_a_byte_left(rig: Rig, disk: SmallDisk) -> None:
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.publish(V2)
    rig.want(2, V2)
    disk.fill()
    rig.troubles = []
    rest(rig)
    assert _served(rig) == [V1.assignment.artifact]
    assert rig.slot.quarantined(V2.assignment.artifact) is not None


def test_an_event_that_finds_no_room_is_told_of_and_stops_nothing(rig: Rig, disk: SmallDisk) -> None:
    rig.troubles = []
    disk.fill()
    rig.yard.serving[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.wait(40)
    assert set(rig.troubles) == {"keeping an event: No space left on device"}
    assert _served(rig) == [V1.assignment.artifact]
    disk.relieve()
    rig.troubles.clear()
    rig.deploy(2, V3)
    assert rig.troubles == []
    assert _served(rig) == [V3.assignment.artifact]
    assert rig.events("committed")


def test_a_revert_on_a_disk_without_a_byte_left_is_told_all_the_same(rig: Rig, disk: SmallDisk) -> None:
    """Once, and with nothing to lose: the broker is there, and the disk is not."""
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.publish(V2)
    rig.want(2, V2)
    disk.fill()
    rig.troubles = []
    rest(rig)
    assert rig.troubles
    assert len(rig.events("reverted")) == 1
    numbers = [event.seq for event in rig.sent(Event)]
    assert len(set(numbers)) == len(numbers)


def test_an_agent_starts_on_a_disk_without_a_byte_left_and_serves(rig: Rig, disk: SmallDisk) -> None:
    disk.fill()
    rig.troubles = []
    rig.cut().boot()
    rig.wait(10)
    assert _served(rig) == [V1.assignment.artifact]
    disk.relieve()
    rig.deploy(2, V2)
    assert _served(rig) == [V2.assignment.artifact]
