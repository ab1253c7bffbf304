"""A board that has no thread left, or no memory: every child still ends with a word, and the broker is tried again."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.broker import running
from tests.support.no_threads import no_threads
from wherry.agent.adapters import feeder_process, priority, worker_process
from wherry.agent.adapters.broker import Broker, BrokerEvent, Connected, Disconnected, Will
from wherry.agent.adapters.feeder_process import FeederEnded, FeederProcess, FeederSaid
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerProcess, WorkerSaid
from wherry.agent.config import BrokerConfig, FeedConfig
from wherry.agent.feeder.messages import Job

pytestmark = pytest.mark.slow

JOB = Job(slot="main", sockets="/nowhere", feed=FeedConfig(directory="/nowhere"))
LIMIT_S = 10

Events = queue.SimpleQueue[WorkerSaid | WorkerEnded | FeederSaid | FeederEnded]


def _worker(role: str) -> WorkerEnded | None:
    """How one ends that is killed as soon as it runs; None where nobody is told."""
    events: Events = queue.SimpleQueue()
    worker = WorkerProcess.start("main", role, events.put)
    worker.kill()
    ended = _end(events)
    worker.close()
    return ended if isinstance(ended, WorkerEnded) else None


def _feeder() -> FeederEnded | None:
    events: Events = queue.SimpleQueue()
    feeder = FeederProcess.start(JOB, events.put)
    feeder.kill("over")
    ended = _end(events)
    feeder.close()
    return ended if isinstance(ended, FeederEnded) else None


def _end(events: Events) -> WorkerEnded | FeederEnded | None:
    try:
        while True:
            event = events.get(timeout=LIMIT_S)
            if isinstance(event, WorkerEnded | FeederEnded):
                return event
    except queue.Empty:
        return None


def test_a_child_that_runs_ends_with_a_word_where_no_other_thread_can_be_started(tried: Tried) -> None:
    priority._can_raise.cache_clear()
    with no_threads("worker", "feeder"):
        ends = [_worker("candidate"), _worker("serving"), _feeder()]
    assert None not in ends
    assert [end.exit_code for end in ends if isinstance(end, WorkerEnded)] == [-9, -9]
    tried(f"{len(ends)} children")


def test_a_shortage_of_threads_is_not_taken_for_a_lack_of_rights() -> None:
    """What is found once is kept for the life of the agent."""
    priority._can_raise.cache_clear()
    expected = priority._can_raise()
    priority._can_raise.cache_clear()
    with no_threads("worker"):
        assert _worker("candidate") is not None
    assert priority._can_raise() == expected


@pytest.mark.parametrize("module", [worker_process, feeder_process], ids=["worker", "feeder"])
@pytest.mark.parametrize("where", ["_read", "_reap", "_spawn"])
def test_a_child_ends_with_a_word_whatever_fails_around_it(
    module: object, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, make = (WorkerProcess, lambda: _worker("serving")) if module is worker_process else (FeederProcess, _feeder)
    monkeypatch.setattr(kind, where, _no_memory)
    ended = make()
    assert ended is not None
    assert "MemoryError" in ended.detail or ended.detail == "over", "it was killed for another reason before"


def _no_memory(*_: object) -> None:
    raise MemoryError


def test_a_broker_is_tried_again_after_a_thread_that_could_not_be_started(tmp_path: Path) -> None:
    events: queue.SimpleQueue[BrokerEvent] = queue.SimpleQueue()
    may_go = threading.Event()

    def payload(_session: int) -> bytes:
        assert may_go.wait(LIMIT_S)
        return b"lost"

    with running("mosquitto", tmp_path) as port:
        config = BrokerConfig(port=port, reconnect_limit_s=0.1)
        broker = Broker(config, "boat-1", Will("status", payload), 1, events.put)
        broker.start()
        with no_threads():
            may_go.set()
            refused = events.get(timeout=LIMIT_S)
        assert isinstance(refused, Disconnected)
        assert "can't start new thread" in refused.reason
        _until_connected(events.get)
        broker.stop()


def _until_connected(get: Callable[..., BrokerEvent]) -> None:
    while not isinstance(get(timeout=LIMIT_S), Connected):
        pass
