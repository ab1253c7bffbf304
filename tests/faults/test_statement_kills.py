"""A controller killed at any statement of anything that moves a rollout goes on without a lost or doubled step.

For each operation a scene is set; the operation is done by a process that is killed at its first statement, its second,
and so on through its commits. The next process finds what is left, the operator or the loop asks for the same once
more, the boards do as they are ordered, and it is ticked to the end. Everything that is then in the database, but for
times, is as it would have been without a kill: orders by epoch and generation, standings, verdicts, and the audit row
for row.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from tests.support.soak import SOAKING, scaled
from tests.support.statement_kills import Copies, Operate, Place, killed, moments, opened, rows
from wherry.controller.core.members import LIVE
from wherry.controller.core.plan import WaveStep
from wherry.controller.operations import audit, desired, retry, rollback, rollouts, steering
from wherry.controller.store.database import Database

NOW_S = 5000.0
TURNS = 12
BOARDS = ("pi-1", "pi-2", "pi-3")
WAVES = (WaveStep(amount=1), WaveStep(amount=100, percent=True))
STRIDE = {"sqlite": scaled(3, soak=1), "postgresql": scaled(8, soak=1)}
"""At every third statement on SQLite and every eighth on PostgreSQL, whose copies take longer, and round all commits.

Under `make soak` at every one.
"""

EVERYTHING = {
    "rollouts": "SELECT id, kind, version, state, reason, ending, wave, restore_from FROM rollouts ORDER BY id",
    "members": "SELECT rollout, device, wave, standing, reason, attempts, sent_epoch, sent_generation, restored_epoch,"
    " restored_generation FROM rollout_devices ORDER BY rollout, device",
    "orders": "SELECT device, epoch, generation, slots, published_epoch, published_generation FROM desired"
    " ORDER BY device",
    "verdicts": "SELECT rollout, wave, results FROM verdicts ORDER BY id",
    "audit": "SELECT actor, action, subject, detail FROM audit ORDER BY id",
}

Tried = Callable[[str], None]


def _tick(db: Database) -> None:
    rollouts.tick(db, now_s=NOW_S)


def _start(db: Database) -> None:
    rollouts.start(db, make_plan(2, waves=WAVES), key="once", now_s=NOW_S, actor="ann")


def _abort(db: Database) -> None:
    rollouts.abort(db, 2, restore="revert", now_s=NOW_S, actor="ann")


def _pause(db: Database) -> None:
    rollouts.pause(db, 2, now_s=NOW_S, actor="ann")


def _roll_back(db: Database) -> None:
    rollback.rollback(db, "digits", 1, key="back", now_s=NOW_S, actor="ann")


def _mark(db: Database) -> None:
    """The broker has acknowledged the documents."""
    due = desired.pending_publications(db, now_s=NOW_S)
    desired.mark_published(db, [(entry.device, entry.desired) for entry in due], now_s=NOW_S)


def _promote(db: Database) -> None:
    steering.promote(db, 2, wave=2, reason="it is late", now_s=NOW_S, actor="ann")


def _hold(db: Database) -> None:
    steering.hold(db, 2, reason="lunch", now_s=NOW_S, actor="ann")


def _retry(db: Database) -> None:
    retry.retry_failed(db, 2, now_s=NOW_S, actor="ann")


def _override(db: Database) -> None:
    steering.override(db, 2, "failures", reason="the sensor is off", now_s=NOW_S, actor="ann")


def _nothing(_depot: Depot) -> None:
    """The scene is set."""


def _begun(depot: Depot) -> None:
    _start(depot.db)


def _canary_committed(depot: Depot) -> None:
    _begun(depot)
    depot.commit(_canary(depot))


def _canary_failed(depot: Depot) -> None:
    _begun(depot)
    depot.refuse(_canary(depot), "rejected", "a bad model")


def _canary_overdue(depot: Depot) -> None:
    """Held, since it was sent the version and never answered."""
    early_s = NOW_S - 200
    rollouts.start(depot.db, make_plan(2, waves=WAVES, on_breach="hold"), key="once", now_s=early_s, actor="ann")
    _tick(depot.db)
    assert rollouts.get_rollout(depot.db, 2).state == "held"


def _second_wave(depot: Depot) -> None:
    _canary_committed(depot)
    _tick(depot.db)


def _all_committed(depot: Depot) -> None:
    _second_wave(depot)
    depot.commit(*BOARDS)


def _taken_back(depot: Depot) -> None:
    """Given back everywhere, and reported so: the next tick ends it."""
    _second_wave(depot)
    _abort(depot.db)
    depot.commit(*BOARDS)


def _canary(depot: Depot) -> str:
    members = rollouts.get_rollout(depot.db, 2).devices
    return next(entry.device for entry in members if entry.wave == 1)


class Case(NamedTuple):
    scene: Callable[[Depot], None]
    operate: Operate
    statements: int
    """At least so many it says, or the scene is not what it seems."""


CASES = {
    "start": Case(_nothing, _start, 15),
    "tick that promotes": Case(_canary_committed, _tick, 15),
    "tick that finishes": Case(_all_committed, _tick, 8),
    "tick that takes back": Case(_canary_failed, _tick, 10),
    "tick that ends what was taken back": Case(_taken_back, _tick, 8),
    "acknowledge": Case(_begun, _mark, 4),
    "pause": Case(_second_wave, _pause, 6),
    "abort": Case(_second_wave, _abort, 12),
    "rollback": Case(_second_wave, _roll_back, 15),
}
MORE_CASES = {
    "promote by hand": Case(_begun, _promote, 12),
    "hold": Case(_second_wave, _hold, 10),
    "retry": Case(_canary_overdue, _retry, 12),
    "override": Case(_begun, _override, 6),
}
CASES |= MORE_CASES if SOAKING else {}
ON_BOTH = CASES if SOAKING else ("start", "tick that promotes", "abort")
"""The statements are the same on either database; what a torn transaction leaves there, these show as well."""

TRIED = [("sqlite", name) for name in CASES] + [("postgresql", name) for name in ON_BOTH]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: a kill takes nothing that was only written, and nobody waits for a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        yield Path(directory)


@pytest.fixture
def empty(request: pytest.FixtureRequest, scratch: Path) -> tuple[str, Place]:
    place = scratch / "scene.db" if request.param == "sqlite" else request.getfixturevalue("new_database")()
    return request.param, place


@pytest.mark.slow
@pytest.mark.parametrize(("empty", "name"), TRIED, indirect=["empty"])
def test_a_process_killed_at_any_statement_has_done_all_of_it_or_nothing(
    empty: tuple[str, Place], scratch: Path, name: str, tried: Tried
) -> None:
    kind, place = empty
    case = CASES[name]
    count, wrong = _kill_everywhere(case, case.operate, place, scratch, STRIDE[kind])
    assert count * STRIDE[kind] >= case.statements
    tried(f"{count} kills ({kind})")
    assert wrong == []


@pytest.mark.slow
def test_an_operation_in_two_transactions_is_found(scratch: Path) -> None:
    """The negative control: the audit row follows in a transaction of its own."""
    _, wrong = _kill_everywhere(CASES["tick that promotes"], _tick_in_two, scratch / "scene.db", scratch, 1)
    assert wrong
    assert all("audit" in tables for _, tables in wrong)


def _tick_in_two(db: Database) -> None:
    record, kept = audit.record, []
    audit.record = lambda _session, *words, **more: kept.append((words, more))
    try:
        _tick(db)
    finally:
        audit.record = record
    with db.write() as session:
        for words, more in kept:
            record(session, *words, **more)


Wrong = list[tuple[int, list[str]]]


def _kill_everywhere(case: Case, operate: Operate, place: Place, scratch: Path, stride: int) -> tuple[int, Wrong]:
    """How many kills there were, and after which of them which tables were not as without one."""
    _set_scene(place, case)
    copies = Copies(place, scratch)
    with copies.copy() as copy:
        names = moments(copy, operate)
    with copies.copy() as copy:
        undisturbed = _to_the_end(copy, operate)
    wrong = Wrong()
    chosen = [at for at, name in enumerate(names, 1) if name != "statement" or at % stride == 1 % stride]
    for at in chosen:
        with copies.copy() as copy:
            assert killed(copy, operate, at)
            found = _to_the_end(copy, case.operate)
        differs = [name for name, rows in found.items() if rows != undisturbed[name]]
        if differs:
            wrong.append((at, differs))
    with copies.copy() as copy:
        assert not killed(copy, operate, len(names) + 1), "it has more moments than were seen"
    return len(chosen), wrong


def _set_scene(place: Place, case: Case) -> None:
    """Version 1 everywhere, and then what the case needs."""
    depot = Depot(place)
    depot.now_s = NOW_S
    for salt in "ab":
        depot.version(salt)
    for board in BOARDS:
        depot.device(board)
    rollouts.start(depot.db, make_plan(1, waves=(WaveStep(amount=100, percent=True),)), now_s=NOW_S, actor="ann")
    depot.commit(*BOARDS)
    _tick(depot.db)
    case.scene(depot)
    depot.db.close()


def _to_the_end(place: Place, operate: Operate) -> dict[str, list[tuple[object, ...]]]:
    """The same is asked for once more, the boards obey, and the loop turns until all is calm."""
    with opened(place) as db:
        operate(db)
        depot = Depot.of(db, NOW_S)
        for _ in range(TURNS):
            _tick(db)
            live = [view for view in rollouts.list_rollouts(db) if view.state in LIVE]
            if not live:
                break
            for view in (view for view in live if view.state == "paused"):
                rollouts.resume(db, view.id, now_s=NOW_S, actor="ann")
            _mark(db)
            depot.commit(*BOARDS)
        assert not live
        _mark(db)
        return rows(db, EVERYTHING)
