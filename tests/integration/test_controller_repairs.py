"""What somebody damages on the broker, the controller makes right again."""

from pathlib import Path

import pytest

from tests.support import dense_versions
from tests.support.cargo_hold import DEVICE, FLEET, desire
from tests.support.flotilla import LIMIT_S, QUICK, Flotilla, sailing
from tests.support.lookout import looking
from tests.support.wait import wait_until
from wherry.protocol import topics
from wherry.protocol.codec import encode

pytestmark = pytest.mark.slow

V1, V2 = (dense_versions.make(number, QUICK) for number in (1, 2))
ARTIFACT = V1.assignment.artifact
NO_HTTP = "no-such-host.invalid"


def _damage(fleet: Flotilla, **replacements: bytes) -> None:
    """Begin a rollout whose blocks are replaced on the broker before any board fetches them, and see it through."""
    rollout = fleet.begin(fleet.upload(V1), paused=True)
    fleet.await_published(V1)
    spoilt = {f"{topics.ROOT}/{FLEET}/b/{ARTIFACT}/{last}": payload for last, payload in replacements.items()}
    with looking(fleet.mqtt_port) as lookout:
        lookout.publish(spoilt, retain=True)
    fleet.post(f"/rollouts/{rollout}/resume")
    fleet.await_end(rollout, "completed")
    assert fleet.serving() == {DEVICE: "dense:1"}


def test_damaged_blocks_and_lists_are_published_again_for_a_board_without_http(tmp_path: Path) -> None:
    with sailing(tmp_path, "mosquitto", advertise_host=NO_HTTP) as fleet:
        fleet.launch(DEVICE)
        _damage(fleet, **{"hashes": b"x" * 128, "2": b"x" * 65536})
        assert {event.get("block") for event in fleet.events(DEVICE, "block-damaged")} == {None, 2}
        repaired = [(event["block"], event["transport"]) for event in fleet.events(DEVICE, "block-repaired")]
        assert repaired == [(2, "mqtt")]
        assert "a damaged block was published again" in fleet.controller.log.read_text()


def test_blocks_that_are_gone_from_the_broker_are_fetched_over_http(tmp_path: Path) -> None:
    with sailing(tmp_path, "mosquitto") as fleet:
        fleet.launch(DEVICE)
        _damage(fleet, **{"1": b"", "3": b""})


def test_a_desired_document_that_was_deleted_or_overwritten_while_a_board_was_away_is_published_again(
    tmp_path: Path,
) -> None:
    topic = topics.down(FLEET, DEVICE, "desired")
    stale = encode(desire(1, V2, epoch=0))
    with sailing(tmp_path, "mosquitto", republish_after_s=0.5) as fleet, looking(fleet.mqtt_port) as lookout:
        fleet.launch(DEVICE)
        assert fleet.agents[DEVICE].stop() == 0
        rollout = fleet.begin(fleet.upload(V1))
        wanted = wait_until(lambda: lookout.retained(topic), "the document is published", LIMIT_S)
        for payload in (b"", b"\xff garbage", stale):
            lookout.publish({topic: payload}, retain=True)
            wait_until(lambda: lookout.retained(topic) == wanted, "the right document is published again", LIMIT_S)
        lookout.publish({topic: b""}, retain=True)
        fleet.agents[DEVICE].start_again()
        fleet.await_end(rollout, "completed")
