"""The real agent process with real workers and a real model, against every broker and version of MQTT."""

import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import dense_versions
from tests.support.agent_process import AgentProcess
from tests.support.broker import running
from tests.support.cargo_hold import FLEET
from tests.support.children import workers
from tests.support.range_server import serving_blobs
from tests.support.shore import Shore
from tests.support.soak import SOAKING
from tests.support.wait import wait_until
from wherry.protocol import topics
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.up import Birth, Event, Log, Status, Telemetry

pytestmark = pytest.mark.slow

SUPERVISOR_LIMIT_BYTES = 45_000_000
V1, V2, V3 = (dense_versions.make(number) for number in (1, 2, 3))
Launch = Callable[..., AgentProcess]


WAYS = [("mosquitto", "auto"), ("mosquitto", "3.1.1"), ("amqtt", "auto")]
MORE_WAYS = [("mosquitto", "5"), ("amqtt", "3.1.1")]
"""What `auto` comes to on them; a fleet goes these ways with the controller too, see `test_controller_fleet`."""


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    with running(request.param, tmp_path) as port:
        yield port


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    with running("mosquitto", tmp_path) as port:
        yield port


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[AgentProcess] = []

    def start(port: int, *, runtime: str = "litert", **options: str) -> AgentProcess:
        dense_versions.write_feed(tmp_path / "feed", 1)
        started.append(AgentProcess(tmp_path, port, runtime=runtime, **options))
        return started[-1]

    yield start
    for agent in started:
        if agent.process.poll() is None:
            agent.kill()


@pytest.fixture
def shore_at() -> Iterator[Callable[[int], Shore]]:
    opened: list[Shore] = []

    def open_at(port: int) -> Shore:
        opened.append(Shore(port))
        return opened[-1]

    yield open_at
    for shore in opened:
        shore.close()


@pytest.mark.parametrize(("broker", "protocol"), WAYS + MORE_WAYS if SOAKING else WAYS, indirect=["broker"])
def test_versions_are_committed_served_and_measured(
    broker: int, launch: Launch, shore_at: Callable[[int], Shore], protocol: str
) -> None:
    shore, agent = shore_at(broker), launch(broker, protocol=protocol, runtime="auto")
    for generation, version in ((1, V1), (2, V2)):
        shore.publish(version)
        shore.want(generation, version)
        slot = shore.await_outcome(generation)
        assert slot.outcome is not None
        assert slot.outcome.result == "committed", slot.outcome.reason
        assert slot.serving == version.assignment.ref
    telemetry = [entry for entry in shore.all(Telemetry) if entry.ref == V1.assignment.ref and entry.labelled]
    assert telemetry
    assert all(entry.correct >= 0.9 * entry.labelled for entry in telemetry)
    assert max(entry.system.supervisor_rss_bytes for entry in telemetry) < SUPERVISOR_LIMIT_BYTES
    assert {runtime.family for runtime in shore.all(Birth)[0].runtimes} == {"litert", "tflite-runtime"}
    wait_until(lambda: shore.all(Log), "a batch of log lines")
    assert agent.stop() == 0
    wait_until(lambda: shore.all(Status)[-1].presence == "offline", "the agent says goodbye")


def test_a_killed_worker_is_replaced_and_serves_the_same_version(
    mosquitto: int, launch: Launch, shore_at: Callable[[int], Shore]
) -> None:
    shore, agent = shore_at(mosquitto), launch(mosquitto)
    shore.publish(V1)
    shore.want(1, V1)
    shore.await_outcome(1)
    (worker,) = workers(agent.process.pid)
    os.kill(worker.pid, signal.SIGKILL)
    assert "SIGKILL" in shore.await_event("worker-crashed").reason
    shore.await_event("worker-recovered")
    before = len(shore.all(Telemetry))
    wait_until(lambda: any(entry.inferences for entry in shore.all(Telemetry)[before + 1 :]), "it serves again")


def test_a_killed_agent_is_lost_and_comes_back_on_the_right_version_without_a_download(
    mosquitto: int, launch: Launch, shore_at: Callable[[int], Shore]
) -> None:
    shore, agent = shore_at(mosquitto), launch(mosquitto)
    shore.publish(V1)
    shore.want(1, V1)
    shore.await_outcome(1)
    children = psutil.Process(agent.process.pid).children()
    assert len(children) == 2, "a worker and a feeder"
    agent.kill()
    wait_until(lambda: shore.all(Status)[-1].presence == "lost", "the broker says that it is lost")
    wait_until(lambda: not any(child.is_running() for child in children), "they are gone with it")
    lost = shore.all(Status)[-1]
    agent.start_again()
    wait_until(lambda: shore.all(Status)[-1].presence == "online", "it is back")
    assert shore.all(Status)[-1].session > lost.session
    before = len(shore.all(Telemetry))
    wait_until(lambda: any(entry.inferences for entry in shore.all(Telemetry)[before:]), "it serves")
    assert shore.all(Telemetry)[-1].ref == V1.assignment.ref
    assert [event.to_phase for event in _events(shore) if event.kind == "transition"].count("download") == 1


def test_an_agent_killed_in_probation_goes_on_with_it(
    mosquitto: int, launch: Launch, shore_at: Callable[[int], Shore]
) -> None:
    patient = dense_versions.make(1, HealthLimits(min_inferences=100, probation_s=3, deadline_s=60))
    shore, agent = shore_at(mosquitto), launch(mosquitto)
    shore.publish(patient)
    shore.want(1, patient)
    wait_until(lambda: (slot := shore.slot()) is not None and slot.phase == "probation", "probation")
    agent.kill()
    agent.start_again()
    slot = shore.await_outcome(1)
    assert slot.outcome is not None
    assert slot.outcome.result == "committed"


def test_wrong_results_are_refused_and_a_slow_version_is_reverted_while_the_incumbent_stays(
    mosquitto: int, launch: Launch, shore_at: Callable[[int], Shore]
) -> None:
    shore, _ = shore_at(mosquitto), launch(mosquitto)
    wrong = dense_versions.make(4, wrong_golden=True)
    slow = dense_versions.make(5, HealthLimits(min_inferences=30, probation_s=1, deadline_s=60, p95_ms=0.0001))
    for generation, version in ((1, V1), (2, wrong), (3, slow)):
        shore.publish(version)
        shore.want(generation, version)
        slot = shore.await_outcome(generation)
        assert slot.serving == V1.assignment.ref
    assert shore.await_event("rejected").from_phase == "self-test"
    assert "limit 0.0001 ms" in shore.await_event("reverted").reason


@pytest.mark.parametrize(("broker", "protocol"), [("mosquitto", "auto"), ("amqtt", "3.1.1")], indirect=["broker"])
def test_a_block_damaged_on_the_broker_comes_over_http(
    broker: int, launch: Launch, shore_at: Callable[[int], Shore], protocol: str
) -> None:
    shore, agent = shore_at(broker), launch(broker, protocol=protocol)
    shore.publish(V1, damaged={topics.block(FLEET, V1.assignment.artifact, 2)})
    with serving_blobs({ref.digest: data for ref, data in V1.blobs}) as url:
        shore.want(1, V1, url=url)
        slot = shore.await_outcome(1)
    assert slot.serving == V1.assignment.ref
    assert [event.block for event in _events(shore) if event.kind == "block-damaged"] == [2, 2]
    assert shore.await_event("block-repaired").transport == "http"
    assert psutil.Process(agent.process.pid).memory_info().rss < SUPERVISOR_LIMIT_BYTES


def test_a_broker_that_comes_late_and_goes_away_is_found_again(
    tmp_path: Path, launch: Launch, shore_at: Callable[[int], Shore]
) -> None:
    with running("mosquitto", tmp_path) as port:
        pass
    agent = launch(port)
    wait_until(lambda: "no broker" in agent.log.read_text(), "it says that there is no broker")
    for _ in range(2):
        with running("mosquitto", tmp_path, port):
            shore = shore_at(port)
            wait_until(functools.partial(shore.all, Status), "it connects")
            shore.close()
    assert agent.process.poll() is None


def test_a_broker_name_that_does_not_resolve_is_tried_again_and_said(tmp_path: Path, launch: Launch) -> None:
    agent = launch(1883, host="no-such-broker.invalid")
    wait_until(lambda: agent.log.read_text().count("no-such-broker.invalid:1883") >= 2, "it tries twice")
    assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


def test_a_second_agent_on_the_same_directory_leaves_with_one_line(mosquitto: int, launch: Launch) -> None:
    first = launch(mosquitto)
    wait_until(lambda: "connected" in first.log.read_text(), "the first is up")
    second = launch(mosquitto)
    assert second.process.wait(20) == 2
    assert first.log.read_text().count("another agent uses this state directory") == 1
    assert first.process.poll() is None


def _events(shore: Shore) -> list[Event]:
    """Each once: they come at least once, until somebody confirms them, which nobody does here."""
    return [*{(event.boot_id, event.seq): event for event in shore.all(Event)}.values()]
