"""The real agent, killed at every start, and killed by a document: each loop ends."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Tried
from tests.support import dense_versions, poisoned_agent
from tests.support.agent_process import AgentProcess
from tests.support.broker import running
from tests.support.children import workers
from tests.support.rig import Rig
from tests.support.shore import Shore
from tests.support.soak import scaled
from tests.support.wait import wait_until
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.core.boots import BLAME_ALL_AT, BLAME_ATTEMPT_AT, BLAME_INCUMBENT_AT
from wherry.agent.core.desired import HANDLING_LIMIT
from wherry.agent.core.record import DeviceRecord
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Reported

pytestmark = pytest.mark.slow

FIRST = scaled(BLAME_ATTEMPT_AT - 1, soak=1)
"""The start with which the loop begins; a real one takes about a second."""


def _record(directory: Path) -> DeviceRecord:
    return RecordFile(directory / "state").load() or DeviceRecord()


def test_a_real_agent_killed_at_every_start_ends_in_safe_mode_and_stays_there(tmp_path: Path, tried: Tried) -> None:
    old, new, wished = (dense_versions.make(number) for number in (1, 2, 3))
    past = Rig(tmp_path / "state").boot()
    past.deploy(1, old)
    past.deploy(2, new)
    past.want(3, wished)
    past.store.save(msgspec.structs.replace(past.store.record, unsteady_boots=FIRST - 1))
    past.cut()
    incumbents: dict[int, VersionRef | None] = {}
    agent = AgentProcess(tmp_path, port=1)
    try:
        for start in range(FIRST, BLAME_ALL_AT + 1):
            _await_start(tmp_path, agent, start)
            incumbents[start] = _record(tmp_path).slot("main").incumbent
            if start < BLAME_ALL_AT:
                agent.kill()
                agent.start_again()
        wait_until(lambda: "no broker" in agent.log.read_text(), "it goes on looking for its broker")
        assert workers(agent.process.pid) == []
        assert agent.stop() == 0
    finally:
        agent.kill()
    assert _record(tmp_path).unsteady_boots == BLAME_ALL_AT - 1, "a stop in good order does not count"
    assert incumbents[BLAME_INCUMBENT_AT - 1] == new.assignment.ref
    assert incumbents[BLAME_INCUMBENT_AT] == old.assignment.ref
    slot = _record(tmp_path).slot("main")
    assert slot.state == "safe-mode"
    assert slot.quarantined(wished.assignment.artifact) is None, "not a byte of it ran"
    assert (slot.attempt, slot.settled) == (None, True)
    assert _record(tmp_path).given_up == 0, "a stop in good order does not count"
    tried(f"{BLAME_ALL_AT - FIRST} real kill -9")


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
