"""A worker that serves nobody yet gives way to those that serve, where it can be given its place again."""

import os
from pathlib import Path

import pytest

from tests.support.live_worker import LiveWorker, TinyCase
from wherry.agent.adapters import priority
from wherry.agent.worker.messages import Loaded, Serve, Serving

pytestmark = pytest.mark.slow


def _nice_values(pid: int) -> set[int]:
    """Of all threads."""
    return {os.getpriority(os.PRIO_PROCESS, int(entry.name)) for entry in Path(f"/proc/{pid}/task").iterdir()}


def _lowered() -> int:
    """What a candidate has; without the right to raise it again, what everybody has."""
    return priority.own() + (priority.NICE if priority._can_raise() else 0)


def test_a_candidate_gives_way_until_it_serves(tmp_path: Path) -> None:
    tiny = TinyCase(tmp_path)
    with LiveWorker("candidate") as worker:
        worker.send(tiny.load("litert"))
        worker.said(Loaded)
        assert _nice_values(worker.process.pid) == {_lowered()}
        worker.send(Serve())
        worker.said(Serving)
        assert _nice_values(worker.process.pid) == {priority.own()}


def test_a_worker_that_takes_the_place_of_a_crashed_one_does_not(tmp_path: Path) -> None:
    """The negative control: somebody waits for it."""
    tiny = TinyCase(tmp_path)
    with LiveWorker("serving") as worker:
        worker.send(tiny.load("litert"))
        worker.said(Loaded)
        assert _nice_values(worker.process.pid) == {priority.own()}


def test_trying_costs_this_process_nothing() -> None:
    before = priority.own()
    priority._can_raise.cache_clear()
    priority._can_raise()
    assert priority.own() == before


def test_where_nobody_can_be_raised_nobody_is_lowered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(priority, "_can_raise", lambda: False)
    with LiveWorker("candidate") as worker:
        worker.send(TinyCase(tmp_path).load("litert"))
        worker.said(Loaded)
        assert _nice_values(worker.process.pid) == {priority.own()}
