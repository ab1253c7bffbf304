"""A desired document that stops the agent: it is known again, refused, and said; a newer one is taken."""

from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.cargo_hold import Version, make_version
from tests.support.counting_rig import FOR_EVER, CountingRig, Died, steady
from wherry.agent import supervisor
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.cargo import Cargo
from wherry.agent.core import desired as core_desired
from wherry.agent.core import recovery
from wherry.agent.core.boots import BLAME_ATTEMPT_AT, STEADY_S
from wherry.agent.core.desired import HANDLING_LIMIT, Accepted, accept
from wherry.agent.core.record import Attempt, DeviceRecord
from wherry.protocol.down import Desired

pytestmark = pytest.mark.slow

V1, V2, V3 = make_version(1), make_version(2), make_version(3)


@pytest.fixture
def rig(tmp_path: Path) -> CountingRig:
    return steady(tmp_path / "state", V1)


@pytest.fixture
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    def deadly(record: DeviceRecord, desired: Desired, slots: tuple[str, ...]) -> Accepted | None:
        if desired.generation == 2:
            raise Died
        return accept(record, desired, slots)

    monkeypatch.setattr(supervisor, "accept", deadly)


def _receive_poison(rig: CountingRig) -> None:
    rig.publish(V2)
    with pytest.raises(Died):
        rig.want(2, V2)
    rig.cut()


@pytest.mark.usefixtures("_poison")
def test_a_document_that_stops_the_agent_is_refused_and_a_newer_one_is_taken(rig: CountingRig, tried: Tried) -> None:
    _receive_poison(rig)
    assert rig.starts_until_it_lives() == HANDLING_LIMIT
    assert rig.serves() == [V1.assignment.artifact]
    assert (rig.slot.state, rig.reported().generation) == ("running", 1)
    (said,) = rig.events("error")
    assert said.reason.startswith("desired document 1.2 (")
    assert "is refused: the agent stopped 3 times while taking it over, limit 3" in said.reason
    rig.link.disconnect()
    rig.settle()
    rig.link.connect()
    rig.settle()
    assert len(rig.events("error")) == 1, "once a start"
    rig.wait(STEADY_S + 1)
    rig.want(3, V2)
    rig.wait(6)
    assert rig.serves() == [V2.assignment.artifact]
    assert rig.store.record.handling is None
    tried(f"1 poisoned document, {HANDLING_LIMIT} times in hand before it was refused")


@pytest.mark.usefixtures("_poison")
def test_without_a_limit_a_document_stops_the_agent_for_ever(rig: CountingRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(core_desired, "HANDLING_LIMIT", 10**9)
    _receive_poison(rig)
    assert rig.starts_until_it_lives() == FOR_EVER


def test_a_new_document_costs_one_save_more_than_its_acceptance(
    rig: CountingRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[DeviceRecord] = []
    save = RecordFile.save

    def counted(self: RecordFile, record: DeviceRecord) -> None:
        saved.append(record)
        save(self, record)

    monkeypatch.setattr(RecordFile, "save", counted)
    rig.want(2)
    assert [(record.generation, record.handling is None) for record in saved] == [(1, False), (2, True)]
    rig.want(2)
    rig.want(1, V2)
    assert len(saved) == 2, "what is not newer costs none"


def test_a_disk_that_does_not_take_a_document_is_no_fault_of_the_document(rig: CountingRig) -> None:
    for _ in range(HANDLING_LIMIT + 1):
        rig.break_record()
        rig.want(2, V2)
        rig.mend_record()
        rig.cut().boot(online=False)
    rig.publish(V2)
    rig.link.connect()
    rig.settle()
    rig.wait(8)
    assert rig.events("error") == []
    assert rig.slot.incumbent == V2.assignment.ref


def test_a_document_that_stops_the_agent_once_it_is_accepted_is_answered_with_a_rejection(
    rig: CountingRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _die_of(V2, monkeypatch)
    with pytest.raises(Died):
        rig.want(2, V2)
    rig.cut()
    assert rig.starts_until_it_lives() == BLAME_ATTEMPT_AT
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.ref, outcome.generation, outcome.result) == (V2.assignment.ref, 2, "rejected")
    assert outcome.reason == "the agent stopped 4 times in a row before it had run for 60 s"
    assert rig.events("rejected")[0].reason == outcome.reason
    assert rig.events("started")[-1].reason == outcome.reason
    assert rig.serves() == [V1.assignment.artifact]
    rig.deploy(3, V3)
    assert rig.serves() == [V3.assignment.artifact]


def test_without_the_count_of_starts_it_would_stop_the_agent_for_ever(
    rig: CountingRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(recovery, "blame", lambda _: "nothing")
    _die_of(V2, monkeypatch)
    with pytest.raises(Died):
        rig.want(2, V2)
    rig.cut()
    assert rig.starts_until_it_lives() == FOR_EVER


def _die_of(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = Cargo.fetch_manifest

    def deadly(self: Cargo, attempt: Attempt) -> None:
        if attempt.ref == version.assignment.ref:
            raise Died
        fetch(self, attempt)

    monkeypatch.setattr(Cargo, "fetch_manifest", deadly)
