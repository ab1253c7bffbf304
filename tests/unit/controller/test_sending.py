"""Versions sent to many devices at once, and taken back: what it costs the database."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.operations import desired, rollback, rollouts
from wherry.controller.store import rows

pytestmark = pytest.mark.slow


@pytest.fixture
def few(tmp_path: Path) -> Depot:
    return _fleet(tmp_path / "few.db", 4)


@pytest.fixture
def many(tmp_path: Path) -> Depot:
    return _fleet(tmp_path / "many.db", 40)


def _fleet(path: Path, size: int) -> Depot:
    """One on which everybody has committed version 1."""
    depot = Depot(path)
    for salt in "ab":
        depot.version(salt)
    for device in _names(size):
        depot.device(device)
    _start(depot, 1)
    depot.commit(*_names(size))
    rollouts.abort(depot.db, 1, restore="keep", now_s=depot.now_s, actor="ann")
    return depot


def _names(size: int) -> list[str]:
    return [f"pi-{number}" for number in range(size)]


def _start(depot: Depot, version: int) -> None:
    rollouts.start(depot.db, make_plan(version, waves=FULL_FLEET, min_inferences=1), now_s=depot.now_s, actor="ann")


def _publish(depot: Depot) -> None:
    pending = [(entry.device, entry.desired) for entry in desired.pending_publications(depot.db, now_s=depot.now_s)]
    assert pending
    desired.mark_published(depot.db, pending, now_s=depot.now_s)


def _abort(depot: Depot) -> None:
    rollouts.abort(depot.db, 2, restore="revert", now_s=depot.now_s, actor="ann")


def _roll_back_all_but_one(depot: Depot) -> None:
    target = Target(query="device!=pi-0")
    rollback.rollback(depot.db, "digits", 1, target=target, now_s=depot.now_s, actor="ann")


def _statements(depot: Depot, work: Callable[[Depot], object]) -> int:
    told = []
    listener = ("before_cursor_execute", lambda *args: told.append(args[2]))
    event.listen(depot.db.engine, *listener)
    work(depot)
    event.remove(depot.db.engine, *listener)
    return len(told)


def test_it_takes_as_many_statements_for_forty_devices_as_for_four(few: Depot, many: Depot) -> None:
    def settle(depot: Depot) -> None:
        rollouts.tick(depot.db, now_s=depot.now_s)
        assert {entry.standing for entry in rollouts.get_rollout(depot.db, 2).devices} == {"committed"}

    for work in (lambda depot: _start(depot, 2), _publish):
        assert _statements(few, work) == _statements(many, work)
    few.commit(*_names(4))
    many.commit(*_names(40))
    for work in (settle, _abort):
        assert _statements(few, work) == _statements(many, work)
    assert {many.wanted(device).version for device in _names(40)} == {1}


def test_it_takes_as_many_statements_to_take_forty_devices_out_of_a_rollout_as_four(few: Depot, many: Depot) -> None:
    for depot in (few, many):
        _start(depot, 2)
    assert _statements(few, _roll_back_all_but_one) == _statements(many, _roll_back_all_but_one)
    assert {entry.device for entry in rollouts.get_rollout(many.db, 2).devices if entry.wave > 0} == {"pi-0"}
    assert [many.wanted(device).version for device in ("pi-0", "pi-1", "pi-39")] == [2, 1, 1]


def test_more_devices_than_one_statement_takes_are_all_sent_it(many: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "KEYS_TOGETHER", 7)
    _start(many, 2)
    assert {many.wanted(device).version for device in _names(40)} == {2}
    many.commit(*_names(40))
    _abort(many)
    assert {many.wanted(device).version for device in _names(40)} == {1}
