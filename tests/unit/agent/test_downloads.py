"""A whole supervisor on the rig: blocks that come damaged, late, over HTTP, or never."""

from collections import Counter
from pathlib import Path

import msgspec

from tests.support.cargo_hold import FLEET, Version, make_version
from tests.support.rig import Rig
from wherry.agent.adapters.http_blocks import HttpBlock
from wherry.agent.config import ArtifactsConfig
from wherry.agent.core.damage import TOLD_OF_A_BLOB, TOLD_OF_A_BLOCK
from wherry.protocol import topics
from wherry.protocol.blob import hash_list, split
from wherry.protocol.up import Event

V1, V2, V3 = make_version(1), make_version(2), make_version(3)

V1, V2 = make_version(1), make_version(2)


def _artifact_topic(version: Version, index: int) -> str:
    return topics.block(FLEET, version.assignment.artifact, index)


def _serving_version(rig: Rig) -> int | None:
    serving = rig.reported().slots[0].serving
    return None if serving is None else serving.version


def test_a_damaged_block_is_asked_for_again_and_reported(rig: Rig) -> None:
    rig.link.damage = {_artifact_topic(V1, 1): 1}
    rig.deploy(1, V1)
    damaged, repaired = rig.events("block-damaged")[0], rig.events("block-repaired")[0]
    assert (damaged.digest, damaged.block, damaged.transport) == (V1.assignment.artifact, 1, "mqtt")
    assert (repaired.block, repaired.transport) == (1, "mqtt")
    assert _serving_version(rig) == 1


BLOCKS = 60
BIG = make_version(3, artifact=bytes(range(256)) * 256 * BLOCKS)


def _arrives_through_damage(rig: Rig) -> None:
    """Every block of a version comes damaged seven times before it is right."""
    rig.publish(BIG)
    rig.link.damage = {_artifact_topic(BIG, index): 7 for index in range(BLOCKS)}
    rig.want(2, BIG)
    rig.wait(200)
    assert _serving_version(rig) == 3


def test_of_many_damaged_blocks_a_few_are_told_one_by_one_and_the_rest_as_a_number(rig: Rig) -> None:
    _arrives_through_damage(rig)
    damaged, repaired = rig.events("block-damaged"), rig.events("block-repaired")
    assert len(damaged) == TOLD_OF_A_BLOB
    assert max(Counter(event.block for event in damaged).values()) == TOLD_OF_A_BLOCK
    assert {event.block for event in repaired} == {event.block for event in damaged}
    assert len(rig.sent(Event)) < 3 * TOLD_OF_A_BLOB
    rest = rig.events("error")[0]
    assert rest.digest == BIG.assignment.artifact
    assert int(rest.reason.split()[0]) == 7 * BLOCKS - TOLD_OF_A_BLOB


def test_a_bad_link_pushes_no_outcome_off_the_disk(rig: Rig) -> None:
    """The controller is away, so nothing leaves the disk."""
    rig.store.events._max_events = 50
    rig.link.gives_receipts = False
    rig.troubles = []
    rig.deploy(1, V1)
    _arrives_through_damage(rig)
    assert any("dropped" in trouble for trouble in rig.troubles)
    kept = [msgspec.json.decode(rig.store.events.read(number), type=Event) for number in rig.store.events.numbers()]
    assert [(event.kind, event.ref and event.ref.version) for event in kept if event.kind == "committed"] == [
        ("committed", 1),
        ("committed", 3),
    ]


def test_a_block_that_the_controller_clears_is_not_damaged(rig: Rig) -> None:
    rig.publish(V1)
    rig.retained.pop(_artifact_topic(V1, 1))
    rig.want(1, V1)
    rig.link.put(_artifact_topic(V1, 1), b"")
    rig.settle()
    assert rig.events("block-damaged") == []


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


def test_a_version_whose_download_failed_is_not_in_quarantine_and_tried_again_when_it_is_sent_again(
    tmp_path: Path,
) -> None:
    """The other half of a rollout's `retries`."""
    rig = Rig(tmp_path)
    rig.config = msgspec.structs.replace(rig.config, artifacts=ArtifactsConfig(disk_reserve_bytes=0, give_up_s=30))
    rig.boot()
    rig.want(1, V1)
    rig.wait(40)
    assert (rig.slot.state, rig.slot.quarantine) == ("empty", ())
    rig.wait(3600)
    assert len(rig.events("rejected")) == 1, "the same document is not tried again"
    rig.publish(V1)
    rig.want(2, V1)
    rig.wait(6)
    assert _serving_version(rig) == 1
