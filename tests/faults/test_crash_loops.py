"""Agents that are cut short again and again: each loop ends, says why, and an operator gets out of it."""

import itertools
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.conftest import Tried
from tests.support import dense_versions, poisoned_agent
from tests.support.agent_process import AgentProcess
from tests.support.broker import running
from tests.support.cargo_hold import Version, make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from tests.support.shore import Shore
from tests.support.soak import scaled
from tests.support.wait import wait_until
from wherry.agent import supervisor
from wherry.agent.adapters.store import Store
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.cargo import Cargo
from wherry.agent.config import SlotConfig
from wherry.agent.core import desired as core_desired
from wherry.agent.core import effects, recovery
from wherry.agent.core.boots import BLAME_ALL_AT, BLAME_ATTEMPT_AT, BLAME_INCUMBENT_AT, STEADY_S
from wherry.agent.core.desired import HANDLING_LIMIT, Accepted, accept
from wherry.agent.core.record import Attempt, DeviceRecord
from wherry.agent.core.slot import TABLE, Row
from wherry.protocol.down import Desired
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Reported

V1, V2, V3 = make_version(1), make_version(2), make_version(3)
FOR_EVER = 20
"""Starts after which a loop counts as endless, in the negative controls."""


class Died(Exception):
    """Stands for whatever ends the process."""


class CountingRig(Rig):
    """Starts are counted as the command does it, before anything else."""

    def boot(self, **options: object) -> "CountingRig":
        store = Store(Path(self.config.state_dir))
        store.save(store.record.booted())
        store.close()
        super().boot(**options)  # type: ignore[arg-type]
        return self

    def stop(self) -> "CountingRig":
        """In good order."""
        self.supervisor.leave()
        self.store.close()
        return self

    def starts_until_it_lives(self) -> int:
        for start in range(1, FOR_EVER + 1):
            try:
                self.boot()
            except Died:
                self.store.close()
            else:
                return start
        return FOR_EVER

    def starts_until(self, is_over: Callable[[], object]) -> int:
        """Starts, each cut short, until one finds that it is over."""
        for start in range(1, FOR_EVER + 1):
            self.cut().boot()
            if is_over():
                return start
        return FOR_EVER

    def serves(self) -> list[str]:
        return [worker.artifact for worker in self.yard.serving]


@pytest.fixture
def rig(tmp_path: Path) -> CountingRig:
    """An agent with an incumbent and a last good version, that has run steadily."""
    rig = CountingRig(tmp_path / "state").boot()
    rig.deploy(1, V1)
    rig.wait(STEADY_S + 1)
    assert rig.store.record.unsteady_boots == 0
    return rig


# A desired document that stops the agent


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


# A version, or a board, that stops the agent


def test_an_incumbent_that_takes_the_board_down_gives_way_to_the_last_good(rig: CountingRig) -> None:
    rig.deploy(2, V2)
    rig.wait(STEADY_S)
    starts = rig.starts_until(lambda: V2.assignment.artifact not in rig.serves())
    assert starts == BLAME_INCUMBENT_AT
    assert rig.serves() == [V1.assignment.artifact]
    outcome = rig.slot.outcome
    assert outcome is not None
    assert (outcome.ref, outcome.result) == (V2.assignment.ref, "reverted")
    assert outcome.reason == "the agent stopped 7 times in a row before it had run for 60 s"
    rig.wait(STEADY_S + 1)
    assert rig.store.record.unsteady_boots == 0
    rig.cut().boot()
    assert rig.serves() == [V1.assignment.artifact]


def test_of_several_slots_the_one_that_was_committed_last_is_blamed_first(tmp_path: Path) -> None:
    rig = CountingRig(tmp_path)
    rig.config = msgspec.structs.replace(rig.config, slots={name: SlotConfig() for name in ("aft", "bow", "main")})
    rig.boot()
    number, generation = itertools.count(1), itertools.count(1)
    for slots in (("aft", "bow", "main"), ("bow",), ("aft",), ("main",), ("aft",)):
        versions = [make_version(next(number), slot=slot) for slot in slots]
        for version in versions:
            rig.publish(version)
        rig.want(next(generation), *versions)
        rig.wait(6)
    rig.wait(STEADY_S)
    before = {name: rig.store.record.slot(name).incumbent for name in rig.config.slots}

    def fallen() -> list[str]:
        return [name for name, ref in before.items() if rig.store.record.slot(name).incumbent != ref]

    rig.starts_until(fallen)
    assert fallen() == ["aft"]
    rig.cut().boot()
    assert fallen() == ["aft", "main"]
    rig.cut().boot()
    assert fallen() == ["aft", "bow", "main"]
    assert {slot.state for slot in rig.store.record.slots.values()} == {"running"}
    rig.cut().boot()
    assert {slot.state for slot in rig.store.record.slots.values()} == {"safe-mode"}


def test_a_board_that_dies_with_everything_ends_in_safe_mode_that_an_operator_gets_it_out_of(
    rig: CountingRig,
) -> None:
    starts = rig.starts_until(lambda: rig.slot.state == "safe-mode")
    assert starts == BLAME_ALL_AT
    assert rig.yard.workers == []
    assert rig.events("safe-mode")[0].reason == "the agent stopped 10 times in a row before it had run for 60 s"
    assert rig.reported().slots[0].phase == "safe-mode"
    rig.wait(300)
    assert rig.yard.workers == []
    rig.deploy(2, V2)
    assert rig.serves() == [V2.assignment.artifact]
    rig.wait(2 * STEADY_S)
    assert rig.store.record.unsteady_boots == 0


def test_after_a_steady_time_in_safe_mode_a_start_tries_once_more_and_the_next_does_not(rig: CountingRig) -> None:
    rig.starts_until(lambda: rig.slot.state == "safe-mode")
    for _ in range(3):
        rig.wait(STEADY_S + 1)
        rig.cut().boot()
        assert rig.serves() == [V1.assignment.artifact]
        rig.cut().boot()
        assert rig.yard.workers == []
        assert rig.slot.state == "safe-mode"
    rig.wait(STEADY_S + 1)
    rig.cut().boot()
    rig.wait(STEADY_S + 1)
    assert rig.store.record.unsteady_boots == 0


def test_stops_in_good_order_never_count(rig: CountingRig, tried: Tried) -> None:
    for _ in range(3 * BLAME_ALL_AT):
        rig.stop().boot()
        assert rig.serves() == [V1.assignment.artifact]
        assert rig.store.record.unsteady_boots == 1
    tried(f"{3 * BLAME_ALL_AT} stops in good order within {STEADY_S:g} s")


def test_a_steady_time_is_written_once_and_forgives_all_before(
    rig: CountingRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(BLAME_ATTEMPT_AT):
        rig.cut().boot()
    saved: list[int] = []
    save = RecordFile.save

    def counted(self: RecordFile, record: DeviceRecord) -> None:
        saved.append(record.unsteady_boots)
        save(self, record)

    monkeypatch.setattr(RecordFile, "save", counted)
    rig.wait(STEADY_S - 1)
    assert saved == []
    rig.wait(3 * STEADY_S)
    assert saved == [0]


# The real agent


def _record(directory: Path) -> DeviceRecord:
    return RecordFile(directory / "state").load() or DeviceRecord()


@pytest.mark.slow
def test_a_real_agent_killed_at_every_start_ends_in_safe_mode_and_stays_there(tmp_path: Path, tried: Tried) -> None:
    old, new, wished = (dense_versions.make(number) for number in (1, 2, 3))
    past = Rig(tmp_path / "state").boot()
    past.deploy(1, old)
    past.deploy(2, new)
    past.want(3, wished)
    past.cut()
    incumbents: dict[int, VersionRef | None] = {}
    agent = AgentProcess(tmp_path, port=1)
    try:
        for start in range(1, BLAME_ALL_AT + 1):
            _await_start(tmp_path, agent, start)
            incumbents[start] = _record(tmp_path).slot("main").incumbent
            if start < BLAME_ALL_AT:
                agent.kill()
                agent.start_again()
        wait_until(lambda: "no broker" in agent.log.read_text(), "it goes on looking for its broker")
        assert psutil.Process(agent.process.pid).children() == []
        assert agent.stop() == 0
    finally:
        agent.kill()
    assert _record(tmp_path).unsteady_boots == BLAME_ALL_AT - 1, "a stop in good order does not count"
    assert incumbents[BLAME_INCUMBENT_AT - 1] == new.assignment.ref
    assert incumbents[BLAME_INCUMBENT_AT] == old.assignment.ref
    slot = _record(tmp_path).slot("main")
    assert slot.state == "safe-mode"
    assert (
        slot.quarantined(wished.assignment.artifact) == "the agent stopped 4 times in a row before it had run for 60 s"
    )
    tried(f"{BLAME_ALL_AT - 1} real kill -9")


def _await_start(directory: Path, agent: AgentProcess, start: int) -> None:
    """Until the start is counted; at a limit, until the slot has taken its step."""

    def reached() -> bool:
        assert agent.process.poll() is None, agent.log.read_text()
        record = _record(directory)
        slot = record.slot("main")
        taken = {
            BLAME_ATTEMPT_AT: slot.attempt is None,
            BLAME_INCUMBENT_AT: bool(slot.incumbent and slot.incumbent.version == 1),
            BLAME_ALL_AT: slot.state == "safe-mode",
        }
        return record.unsteady_boots == start and taken.get(start, True)

    wait_until(reached, f"start {start}")


class PoisonedProcess(AgentProcess):
    """Taking over generation 2 kills it."""

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            module = poisoned_agent.__name__
            return subprocess.Popen([sys.executable, "-m", module, "run", "--config", str(self.config)], stderr=log)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    with running("mosquitto", tmp_path) as port:
        yield port


@pytest.mark.slow
def test_a_real_agent_that_a_document_kills_refuses_it_and_takes_the_next(
    mosquitto: int, tmp_path: Path, tried: Tried
) -> None:
    first, second = dense_versions.make(1), dense_versions.make(2)
    past = Rig(tmp_path / "state").boot()
    past.deploy(1, first)
    past.cut()
    shore, agent = Shore(mosquitto), PoisonedProcess(tmp_path, mosquitto)
    deaths = 0
    try:
        shore.publish(second)
        shore.want(poisoned_agent.POISON, second)
        for deaths in range(1, HANDLING_LIMIT + 1):  # noqa: B007  as many as there were
            assert agent.process.wait(20) == -9
            agent.start_again()
        assert "is refused: the agent stopped 3 times" in shore.await_event("error").reason
        assert _record(tmp_path).slot("main").serving == first.assignment.ref
        shore.want(poisoned_agent.POISON + 1, second)
        wait_until(lambda: shore.all(Reported)[-1].generation == poisoned_agent.POISON + 1, "the newer one is taken")
        wait_until(lambda: _record(tmp_path).slot("main").state == "probation", "and tried")
        assert agent.stop() == 0
    finally:
        agent.kill()
        shore.close()
    tried(f"1 poisoned document, {deaths} real deaths of it")


# Any history

HISTORIES = scaled(10, soak=3000)
STEPS = 25
ODD = (
    Conduct(),
    Conduct(errors=50),
    Conduct(dies_at="load"),
    Conduct(dies_at="serve"),
    Conduct(silent_at="self-test"),
    Conduct(inferences=0),
)


def _live_through(rig: CountingRig, chance: random.Random) -> None:
    """Versions good and bad, workers that die, steady times, power cuts and whole loops of them, in any order."""
    for generation in range(2, 2 + STEPS):
        match chance.randrange(6):
            case 0 | 1:
                version = make_version(chance.randrange(1, 6))
                rig.conduct[version.assignment.artifact] = chance.choice(ODD)
                rig.publish(version)
                rig.want(generation, version)
            case 2:
                rig.wait(chance.choice([1, 5, STEADY_S + 1]))
            case 3:
                for worker in rig.yard.serving:
                    worker.die(-9, "killed by signal 9 (SIGKILL)")
                rig.settle()
            case 4:
                (rig.stop() if chance.random() < 0.3 else rig.cut()).boot()
            case 5:
                for _ in range(chance.randrange(BLAME_ALL_AT + 3)):
                    rig.cut().boot()
                    rig.wait(chance.randrange(4))


def _live_and_be_mended(directory: Path, seed: int) -> None:
    rig = CountingRig(directory / str(seed)).boot()
    rig.deploy(1, V1)
    _live_through(rig, random.Random(seed))
    rig.wait(STEADY_S)
    rig.deploy(STEPS + 10, make_version(9))
    rig.wait(2 * STEADY_S)
    assert rig.serves() == [make_version(9).assignment.artifact], f"seed {seed}: {rig.slot}"
    assert rig.slot.state == "running"
    assert rig.store.record.unsteady_boots == 0
    rig.cut()


def test_whatever_happened_one_good_document_mends_it(tmp_path: Path, tried: Tried) -> None:
    for seed in range(HISTORIES):
        _live_and_be_mended(tmp_path, seed)
    tried(f"{HISTORIES} histories of {STEPS} steps")


def test_a_safe_mode_without_a_way_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setitem(TABLE, ("safe-mode", "assigned"), Row("safe-mode", (effects.refuse,)))
    with pytest.raises(AssertionError):
        test_whatever_happened_one_good_document_mends_it(tmp_path, lambda _: None)
