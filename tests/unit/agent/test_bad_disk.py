"""A disk that fails under a running supervisor: nothing dies of it, and all goes on once it works again."""

from pathlib import Path

import pytest

from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig

V1, V2 = make_version(1), make_version(2)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "state").boot()


def _on_probation(rig: Rig, conduct: Conduct | None = None) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = conduct or Conduct()
    rig.publish(V2)
    rig.want(2, V2)
    assert rig.slot.state == "probation"


@pytest.mark.parametrize("seconds", [7, 30, 90])
def test_a_commit_waits_for_the_disk_however_often_it_is_said(rig: Rig, seconds: int) -> None:
    _on_probation(rig)
    rig.break_record()
    rig.wait(seconds)
    assert rig.slot.state == "probation"
    rig.mend_record()
    rig.wait(6)
    assert rig.slot.state == "running"
    assert rig.slot.incumbent == V2.assignment.ref
    assert [event.ref for event in rig.events("committed")] == [V1.assignment.ref, V2.assignment.ref]


def test_a_breach_waits_for_the_disk(rig: Rig) -> None:
    _on_probation(rig, Conduct(errors=50))
    rig.break_record()
    rig.wait(30)
    rig.mend_record()
    rig.wait(6)
    assert rig.slot.state == "running"
    assert rig.slot.incumbent == V1.assignment.ref
    assert len(rig.events("reverted")) == 1


def test_want_of_evidence_waits_for_the_disk_and_is_not_heaped_up(rig: Rig) -> None:
    _on_probation(rig, Conduct(inferences=0))
    rig.break_record()
    rig.wait(120)
    assert not rig.supervisor.runners["main"]._meanwhile
    rig.mend_record()
    rig.wait(6)
    assert rig.slot.incumbent == V1.assignment.ref
    assert rig.slot.quarantine == ()
    assert len(rig.events("reverted")) == 1


def test_a_candidate_that_dies_while_its_commit_waits_is_reverted(rig: Rig) -> None:
    _on_probation(rig)
    rig.break_record()
    rig.wait(10)
    rig.yard.serving[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.wait(10)
    rig.mend_record()
    rig.wait(6)
    assert rig.slot.incumbent == V1.assignment.ref
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]
    assert rig.slot.quarantined(V2.assignment.artifact) is not None


@pytest.mark.parametrize(("silent", "state"), [("self-test", "self-test"), ("serve", "switch")])
def test_the_ends_of_both_workers_are_remembered_while_a_step_waits(rig: Rig, silent: str, state: str) -> None:
    """The candidate's end is the step that waits; the incumbent's end comes after it."""
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.conduct[V2.assignment.artifact] = Conduct(silent_at=silent)
    rig.want(2, V2)
    assert rig.slot.state == state
    rig.break_record()
    rig.yard.workers[1].die(-9, "killed by signal 9 (SIGKILL)")
    rig.settle()
    rig.yard.workers[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.wait(20)
    assert rig.slot.state == state
    rig.mend_record()
    rig.wait(8)
    assert rig.slot.state == "running"
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]
    assert rig.slot.outcome is not None
    assert (rig.slot.outcome.result, rig.slot.outcome.phase) == ("rejected", state)


def test_the_incumbent_is_started_again_while_a_step_waits(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.conduct[V2.assignment.artifact] = Conduct(silent_at="self-test")
    rig.want(2, V2)
    rig.break_record()
    rig.yard.workers[1].die(-9, "killed by signal 9 (SIGKILL)")
    rig.settle()
    rig.yard.workers[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.wait(2)
    assert rig.slot.state == "self-test"
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]
    rig.mend_record()
    rig.wait(8)
    assert rig.slot.state == "running"
    assert len(rig.yard.serving) == 1


def test_the_end_of_the_incumbent_is_no_matter_once_the_candidate_serves(rig: Rig) -> None:
    """It came while the switch waited for the disk; in probation there is nobody to start again."""
    rig.deploy(1, V1)
    rig.publish(V2)
    rig.conduct[V2.assignment.artifact] = Conduct(silent_at="serve")
    rig.want(2, V2)
    rig.break_record()
    rig.yard.workers[1].serve_at_last()
    rig.settle()
    rig.yard.workers[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.settle()
    assert rig.slot.state == "switch"
    rig.mend_record()
    rig.wait(12)
    assert rig.slot.state == "running"
    assert rig.slot.incumbent == V2.assignment.ref


def test_of_the_wishes_that_came_meanwhile_the_last_counts(rig: Rig) -> None:
    _on_probation(rig, Conduct(errors=50))
    rig.break_record()
    rig.wait(10)
    rig.want(3, V1)
    rig.mend_record()
    rig.want(4, V1)
    rig.wait(8)
    assert rig.slot.outcome is not None
    assert (rig.slot.outcome.result, rig.slot.outcome.generation) == ("committed", 4)
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]


def test_a_start_waits_for_the_disk(rig: Rig) -> None:
    _on_probation(rig)
    rig.cut().boot(can_save=False)
    rig.wait(20)
    assert rig.yard.workers == []
    rig.mend_record()
    rig.wait(12)
    assert rig.slot.incumbent == V2.assignment.ref


# Events, blobs and parts


def _spoil(path: Path) -> None:
    """Neither a read nor a removal of a file works where a directory has its name."""
    path.unlink()
    path.mkdir()


def test_an_event_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "state").boot(online=False)
    rig.troubles = []
    rig.cut().boot(online=False)
    _spoil(rig.store.directory / "events" / f"{0:012d}")
    rig.link.connect()
    rig.settle()
    assert [event.boot_id for event in rig.events("started")] == ["boot-2"]
    assert rig.troubles == ["reading an event: Is a directory"]
    rig.deploy(1, V1)
    assert rig.slot.state == "running"


def test_an_event_that_cannot_be_removed_is_told_and_the_next_ones_go_out(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.link.disconnect()
    for _ in range(10):
        rig.settle()
        rig.yard.serving[0].die(-9, "killed by signal 9 (SIGKILL)")
        rig.wait(40)
    waiting = len(rig.store.events)
    assert waiting == 20
    rig.troubles = []
    rig.link.connect()
    rig.supervisor.turn(0)
    sent = len(rig.events("worker-crashed") + rig.events("worker-recovered"))
    assert sent < waiting
    for path in sorted((rig.store.directory / "events").iterdir())[:sent]:
        _spoil(path)
    rig.settle()
    assert rig.troubles == ["removing an event: Is a directory"] * sent
    assert len(rig.events("worker-crashed") + rig.events("worker-recovered")) == waiting


def test_garbage_that_cannot_be_looked_for_stays(rig: Rig) -> None:
    rig.deploy(1, V1)
    parts = rig.store.directory / "parts"
    parts.rmdir()
    rig.deploy(2, V2)
    assert rig.slot.outcome is not None
    assert (rig.slot.outcome.result, rig.slot.state) == ("rejected", "running")
    parts.mkdir()
    rig.want(3, V2)
    rig.wait(6)
    assert rig.slot.incumbent == V2.assignment.ref


def _lose_the_record(rig: Rig) -> None:
    """Turn a bit in both copies."""
    for name in ("state.a", "state.b"):
        path = rig.store.directory / name
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)


def _blobs(rig: Rig) -> int:
    return len(list((rig.store.directory / "blobs").iterdir()))


def test_without_a_record_the_files_wait_for_the_document_that_names_them_again(rig: Rig) -> None:
    rig.deploy(1, V1)
    _lose_the_record(rig.cut())
    for _ in range(2):
        rig.boot(online=False).cut()
    rig.boot(online=False)
    assert (rig.slot.state, _blobs(rig)) == ("empty", 3)
    rig.retained = {topic: payload for topic, payload in rig.retained.items() if topic.endswith("/desired")}
    rig.link.retained = rig.retained
    rig.link.connect()
    rig.settle()
    rig.wait(6)
    assert rig.slot.incumbent == V1.assignment.ref, "nothing had to be fetched"


def test_without_a_record_a_document_about_something_else_lets_go_of_the_files(rig: Rig) -> None:
    rig.deploy(1, V1)
    _lose_the_record(rig.cut())
    rig.boot()
    rig.want(2, V2)  # whose blocks never come
    assert rig.slot.state == "preflight"
    assert _blobs(rig) == 0
