"""A supervisor cut off in every state, by its record alone, and what the next one does."""

from pathlib import Path

import pytest

from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from wherry.agent.core.recovery import TRY_LIMIT
from wherry.protocol.blob import split

V1, V2 = make_version(1), make_version(2)


def _served(rig: Rig) -> list[str]:
    return [worker.artifact for worker in rig.yard.serving]


def test_the_version_that_serves_is_served_again_offline(tmp_path: Path) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.cut().boot(online=False)
    assert _served(rig) == [V1.assignment.artifact]


@pytest.mark.parametrize("state", ["preflight", "download", "self-test", "switch", "probation"])
def test_an_attempt_goes_on_from_where_it_was_cut(tmp_path: Path, state: str) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    messages = V2.messages()
    if state == "download":
        held_back = list(messages)[-2]
        for topic, payload in messages.items():
            if topic != held_back:
                rig.link.put(topic, payload)
    elif state != "preflight":
        rig.publish(V2)
        silent = {"self-test": "load", "switch": "serve"}.get(state, "")
        rig.conduct[V2.assignment.artifact] = Conduct(silent_at=silent)
    rig.want(2, V2)
    assert rig.slot.state == state
    rig.conduct.clear()
    rig.cut().boot()
    if state != "probation":
        assert V1.assignment.artifact in _served(rig) or rig.slot.state == "probation"
    rig.publish(V2)
    rig.wait(8)
    assert rig.slot.state == "running"
    assert _served(rig) == [V2.assignment.artifact]


def test_a_download_resumes_with_the_blocks_that_are_here(tmp_path: Path) -> None:
    rig = Rig(tmp_path).boot()
    topics_of_v1 = V1.messages()
    missing = list(topics_of_v1)[2]
    for topic, payload in topics_of_v1.items():
        if topic != missing:
            rig.link.put(topic, payload)
    rig.want(1, V1)
    assert rig.slot.state == "download"
    rig.cut().boot()
    asked = [topic for topic in rig.link.asked if V1.assignment.artifact in topic and not topic.endswith("hashes")]
    assert asked == [missing]
    assert len(split(V1.blobs[1][1])) > 3


@pytest.mark.parametrize(
    ("state", "silent", "result"), [("self-test", "load", "rejected"), ("probation", "", "reverted")]
)
def test_a_candidate_that_takes_the_board_down_is_given_up(
    tmp_path: Path, state: str, silent: str, result: str
) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(silent_at=silent)
    rig.publish(V2)
    rig.want(2, V2)
    starts = 1
    while rig.slot.state == state:
        rig.cut().boot()
        starts += any(worker.role == "candidate" for worker in rig.yard.workers)
        assert starts < 10, "an endless flip"
    assert starts == TRY_LIMIT
    assert rig.slot.outcome is not None
    assert rig.slot.outcome.result == result
    assert rig.slot.outcome.reason == f"the agent or the board stopped 3 times in {state}, limit 3"
    assert rig.slot.quarantined(V2.assignment.artifact)
    assert _served(rig) == [V1.assignment.artifact]


def test_a_damaged_incumbent_gives_way_and_is_fetched_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    path = rig.store.blobs.path(V2.assignment.artifact)
    path.chmod(0o644)
    path.write_bytes(b"rot" + path.read_bytes()[3:])
    rig.cut().boot()
    rig.wait(8)
    assert _served(rig) == [V2.assignment.artifact]
    assert rig.slot.last_good == V1.assignment.ref
    assert rig.slot.quarantine == ()


def test_damaged_golden_vectors_do_not_stop_what_serves_and_are_fetched_again_when_needed(tmp_path: Path) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    path = rig.store.blobs.path(V1.blobs[2][0].digest)
    path.chmod(0o644)
    path.write_bytes(b"rot")
    rig.cut().boot()
    assert _served(rig) == [V2.assignment.artifact]
    rig.want(3, V1)
    assert rig.slot.outcome is not None
    assert "does not have its digest" in rig.slot.outcome.reason
    rig.want(4, V1)
    rig.wait(6)
    assert _served(rig) == [V1.assignment.artifact]


def test_a_damaged_only_version_is_fetched_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.store.blobs.discard(V1.assignment.artifact)
    rig.cut().boot()
    rig.wait(8)
    assert _served(rig) == [V1.assignment.artifact]


def test_a_damaged_only_version_is_fetched_again_although_another_one_is_wished_that_is_in_quarantine(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, V2)
    rig.store.blobs.discard(V1.assignment.artifact)
    rig.cut().boot()
    rig.wait(8)
    assert _served(rig) == [V1.assignment.artifact]
    assert rig.slot.state == "running"
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.ref, outcome.generation, outcome.result) == (V2.assignment.ref, 2, "rejected")


def test_a_version_that_was_lost_and_cannot_be_had_any_more_is_asked_for_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, V2)
    rig.store.blobs.discard(V1.assignment.artifact)
    rig.retained.clear()
    rig.cut().boot()
    assert rig.slot.state == "download"
    rig.wait(rig.config.artifacts.give_up_s + 10)
    assert rig.slot.state == "empty"
    rig.cut().boot()
    assert rig.slot.state == "empty"
    rig.deploy(3, V1)
    assert _served(rig) == [V1.assignment.artifact]


def test_events_of_before_the_cut_go_out_with_the_numbers_they_had(tmp_path: Path) -> None:
    rig = Rig(tmp_path).boot(online=False)
    rig.cut().boot()
    assert [(event.boot_id, event.seq) for event in rig.events("started")] == [("boot-1", 0), ("boot-2", 0)]
