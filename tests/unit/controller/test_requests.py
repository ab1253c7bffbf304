"""The same request again is the same rollout, also where two come at once; versions by name."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Tried
from tests.support.berths import Berth
from tests.support.controller_values import make_plan
from tests.support.controls import found_by
from tests.support.depot import FLEET, Depot
from tests.support.soak import scaled
from tests.unit.controller.test_retry import fails_to_fetch
from tests.unit.controller.test_rollouts import complete, start
from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.errors import Conflict, ControllerError, Invalid, NotFound
from wherry.controller.operations import aliases, audit, pins, requests, retirement, retry, rollouts, steering
from wherry.controller.operations.rollback import rollback
from wherry.controller.operations.rollouts import RolloutView
from wherry.controller.store import database

pytestmark = pytest.mark.slow

NAMED = Target(devices=FLEET)


def ask(depot: Depot, key: str | None = None, **more: Any) -> RolloutView:
    plan = AskedPlan(**({"model": "digits", "target": NAMED, "min_inferences": 0, "soak_s": 0.0} | more))
    return rollouts.start(depot.db, plan, key=key, now_s=depot.now_s, actor="ann")


def back(depot: Depot, key: str, version: int | None = 1, **more: Any) -> RolloutView:
    return rollback(depot.db, "digits", version, key=key, now_s=depot.now_s, actor="ann", **more)


def test_the_same_key_and_request_is_the_same_rollout(fleet: Depot) -> None:
    first, second = (ask(fleet, "deploy 17", version=1) for _ in range(2))
    assert (first.id, first.created, first.key) == (1, True, "deploy 17")
    assert (second.id, second.created) == (1, False)
    assert len(rollouts.list_rollouts(fleet.db)) == 1


def test_it_is_still_the_same_once_it_has_ended(fleet: Depot) -> None:
    ask(fleet, "a", version=1)
    rollouts.abort(fleet.db, 1, restore="keep", now_s=fleet.now_s, actor="ann")
    assert ask(fleet, "a", version=1).state == "aborted"


@pytest.mark.parametrize("other", [{"version": 2}, {"version": 1, "soak_s": 1.0}, {}, {"alias": "stable"}])
def test_the_same_key_for_another_request_is_refused(fleet: Depot, other: dict[str, Any]) -> None:
    ask(fleet, "a", version=1)
    with pytest.raises(Conflict, match="the key 'a' is that of another request, rollout 1"):
        ask(fleet, "a", **other)


def test_a_key_is_one_for_rollouts_and_rollbacks(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    first, second = (back(fleet, "b") for _ in range(2))
    assert (first.created, second.created, second.id) == (True, False, first.id)
    fleet.commit(*FLEET)
    rollouts.tick(fleet.db, now_s=fleet.now_s)
    assert back(fleet, "b").state == "completed", "without a key this would begin another one"
    with pytest.raises(Conflict, match="another request, rollout 3"):
        back(fleet, "b", pinned=True)
    with pytest.raises(Conflict, match="another request, rollout 3"):
        ask(fleet, "b", version=1)


def test_the_newest_is_meant_where_no_version_is_named_and_stays_what_it_was(fleet: Depot) -> None:
    assert ask(fleet, "a").plan.version == 3
    fleet.version("d")
    again = ask(fleet, "a")
    assert (again.id, again.plan.version) == (1, 3)


def test_an_alias_is_resolved_once(fleet: Depot) -> None:
    aliases.set_alias(fleet.db, "digits", "stable", 2, now_s=1.0, actor="ann")
    assert ask(fleet, "a", alias="stable").plan == make_plan(2, target=NAMED, device_deadline_s=3600.0)
    aliases.set_alias(fleet.db, "digits", "stable", 3, now_s=1.0, actor="ann")
    assert ask(fleet, "a", alias="stable").plan.version == 2
    plan = AskedPlan(model="digits", alias="stable", on_overlap="queue")
    assert rollouts.explain(fleet.db, plan).plan.version == 3
    with pytest.raises(NotFound):
        ask(fleet, alias="candidate")
    with pytest.raises(Invalid, match="both version 1 and alias 'stable' are named"):
        ask(fleet, version=1, alias="stable")


def test_a_retired_version_is_neither_rolled_out_nor_back_to(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    retirement.retire(fleet.db, "digits:1", now_s=fleet.now_s, actor="ann")
    orders: list[Callable[[], object]] = [
        lambda: start(fleet, 1),
        lambda: rollouts.explain(fleet.db, make_plan(1)),
        lambda: back(fleet, "r"),
        lambda: back(fleet, "s", None),
    ]
    for order in orders:
        with pytest.raises(Conflict, match="digits:1 is retired"):
            order()


# Each order is given by two threads at once; it must come to what it comes to when it is given once.


def _started(depot: Depot) -> None:
    complete(depot, 1)
    start(depot, 2, waves=FULL_FLEET, max_failures=2, min_inferences=10)
    fails_to_fetch(depot, "pi-1")
    depot.commit("pi-2")
    rollouts.tick(depot.db, now_s=depot.now_s)


def _waving(depot: Depot) -> None:
    complete(depot, 1)
    start(depot, 2, min_inferences=10)
    depot.commit("pi-1")


ORDERS: dict[str, tuple[Callable[[Depot], None], Callable[[Depot], object]]] = {
    "start": (lambda depot: None, lambda depot: ask(depot, "k", version=1).id),
    "rollback": (_started, lambda depot: back(depot, "k").id),
    "promote": (_waving, lambda depot: steering.promote(depot.db, 2, wave=2, now_s=depot.now_s, actor="ann").wave),
    "hold": (_started, lambda depot: steering.hold(depot.db, 2, now_s=depot.now_s, actor="ann").state),
    "override": (
        _started,
        lambda depot: (
            steering.override(depot.db, 2, "soak", reason="measured by hand", now_s=depot.now_s, actor="ann").overrides
        ),
    ),
    "retry": (_started, lambda depot: retry.retry_failed(depot.db, 2, now_s=depot.now_s, actor="ann").rollout.counts),
    "abort": (
        _started,
        lambda depot: rollouts.abort(depot.db, 2, restore="revert", now_s=depot.now_s, actor="ann").state,
    ),
    "pin": (
        _started,
        lambda depot: pins.pin(depot.db, "pi-1", "main", reason="so", now_s=depot.now_s, actor="ann").reason,
    ),
    "queue": (_started, lambda depot: ask(depot, "q", version=3, on_overlap="queue").state),
    "tick": (_waving, lambda depot: rollouts.tick(depot.db, now_s=depot.now_s) and None),
}


def _traces(depot: Depot) -> tuple[object, ...]:
    """Everything that an order leaves: documents, rollouts, and who was told of it."""
    told = [(row.action, row.subject, row.actor) for row in audit.list_audit(depot.db)]
    shown = rollouts.list_rollouts(depot.db)
    return [depot.desired(device) for device in FLEET], shown, told


def _at_once(depot: Depot, order: Callable[[Depot], object], threads: int = 2) -> list[object]:
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(order, depot) for _ in range(threads)]
    failures = [error for job in jobs if (error := job.exception()) is not None]
    assert failures == []
    return [job.result() for job in jobs]


def _check_once(given: str, alone: Depot, together: Depot) -> None:
    prepare, order = ORDERS[given]
    for depot in (alone, together):
        prepare(depot)
    expected = order(alone)
    answers = _at_once(together, order)
    assert answers == [expected, expected]
    assert _traces(together) == _traces(alone)


Make = Callable[[str], Depot]
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture
def make(berth: Callable[[str], Berth]) -> Iterator[Make]:
    """Makes as many fleets as are asked for."""
    made: list[Depot] = []

    def depot(kind: str) -> Depot:
        made.append(_peopled(Depot(berth(kind))))
        return made[-1]

    yield depot
    for one in made:
        one.db.close()


def _peopled(depot: Depot) -> Depot:
    for salt in "abc":
        depot.version(salt)
    for device in FLEET:
        depot.device(device)
    return depot


@pytest.mark.parametrize("given", ORDERS)
@pytest.mark.parametrize("kind", DATABASES)
def test_an_order_that_is_given_twice_at_once_is_carried_out_once(
    given: str, kind: str, make: Make, tried: Tried
) -> None:
    tries = scaled(1, soak=30)
    for _ in range(tries):
        _check_once(given, make("sqlite"), make(kind))
    tried(f"{tries} times two threads at once")


@pytest.mark.parametrize("kind", DATABASES)
def test_control_without_the_lock_of_the_writer_two_that_meet_are_found(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a database that nobody opened before: its engine has no lock from the beginning."""
    meeting = threading.Barrier(2)

    def find_same(*asked: Any) -> Any:
        found = requests.find_same(*asked)
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(20.0)
        return found

    monkeypatch.setattr(database, "_begin_sqlite", lambda connection: connection.exec_driver_sql("BEGIN"))
    monkeypatch.setattr(database, "_begin_postgresql", lambda _connection: None)
    monkeypatch.setattr(rollouts, "find_same", find_same)
    place = tmp_path / "own.db" if kind == "sqlite" else request.getfixturevalue("new_database")()
    depot = _peopled(Depot(place))
    with contextlib.closing(depot.db), found_by("_at_once"):
        _at_once(depot, ORDERS["start"][1])


def test_control_an_order_that_adds_something_each_time_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def anew(depot: Depot) -> object:
        names = iter(("pi-1", "pi-2", "pi-3"))
        for name in names:
            try:
                return start(depot, 1, target=Target(devices=(name,))).state
            except ControllerError:
                continue
        return None

    monkeypatch.setitem(ORDERS, "start", (ORDERS["start"][0], anew))
    with found_by("_check_once"):
        _check_once("start", make("sqlite"), make("sqlite"))
