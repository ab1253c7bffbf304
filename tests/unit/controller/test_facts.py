"""Many messages at once come to the same as one after another, in a few statements."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tests.conftest import Tried
from tests.support.cargo_hold import make_version
from tests.support.depot import SYSTEM, Depot
from tests.support.soak import scaled
from wherry.controller.adapters.broker_session import Heard
from wherry.controller.intake import _apply
from wherry.controller.operations import facts
from wherry.controller.store import rows
from wherry.controller.store.database import Database, open_database
from wherry.controller.store.tables import BehaviourRow, DeviceRow, EventRow, LogRow, TelemetryRow
from wherry.protocol.latency import LatencySketch
from wherry.protocol.up import Event, Log, Reported, Status, Telemetry, UpMessage
from wherry.protocol.up.log import LogLine

REFS = [make_version(number).assignment.ref for number in (1, 2)]
DEVICES = ("pi-1", "pi-2", "pi-3")
BATCHES = scaled(25, soak=2000)
COUNTED = (DeviceRow, EventRow, TelemetryRow, LogRow, BehaviourRow)


def window(number: int, *, version: int = 1, inferences: int = 7) -> Telemetry:
    return Telemetry(
        boot_id="b", window=number, window_s=10.0, slot="main", ref=REFS[version - 1], phase="running", errors=0,
        inferences=inferences, latency=LatencySketch(first_key=3, counts=(inferences,)), predictions={3: inferences},
        system=SYSTEM,
    )  # fmt: skip


def crash(number: int, version: int = 1) -> Event:
    return Event(boot_id="b", seq=number, at_s=1.0, kind="worker-crashed", slot="main", ref=REFS[version - 1])


def anything(chance: random.Random) -> UpMessage:
    """Of few numbers, so that much comes twice."""
    number, version = chance.randrange(6), chance.randrange(1, 3)
    return chance.choice(
        [
            window(number, version=version, inferences=1 + number),
            crash(number, version),
            Event(boot_id="b", seq=10 + number, at_s=1.0, kind="started"),
            Log(boot_id="b", batch=number, lines=(LogLine(at_s=1.0, level="info", event="e"),) * number),
            Status(presence=chance.choice(["online", "lost"]), session=number),
            Reported(epoch=0, generation=number, slots=()),
        ]
    )


def kept(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows but for their numbers."""
    with db.read() as session:
        found = {}
        for table in COUNTED:
            columns = [column for column in table.__table__.c if column.autoincrement is not True]
            rows = session.connection().execute(sqlalchemy.select(*columns))
            found[table.__tablename__] = sorted(map(tuple, rows), key=repr)
    return found


@contextmanager
def two(directory: Path) -> Iterator[tuple[Database, Database]]:
    both = open_database(directory / "one.db"), open_database(directory / "other.db")
    yield both
    for db in both:
        db.close()


@contextmanager
def counting(db: Database) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sqlalchemy.event.listen(db.engine, "before_cursor_execute", note)
    yield statements
    sqlalchemy.event.remove(db.engine, "before_cursor_execute", note)


@pytest.mark.slow
def test_a_batch_comes_to_the_same_as_its_messages_one_after_another(tmp_path: Path, tried: Tried) -> None:
    chance = random.Random(5)
    with two(tmp_path) as (at_once, one_by_one):
        for number in range(BATCHES):
            batch = [
                Heard(device=chance.choice(DEVICES), message=anything(chance)) for _ in range(chance.randrange(20))
            ]
            _apply(at_once, batch, float(number))
            for heard in batch:
                _apply(one_by_one, [heard], float(number))
            assert kept(at_once) == kept(one_by_one)
        assert all(kept(at_once).values())
    tried(f"{BATCHES} batches")


def test_a_sum_that_is_read_before_all_of_the_batch_would_be_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the windows of a device overwrite each other's sum."""
    monkeypatch.setattr(facts.behaviours, "_added", lambda body, news: _last_only(body, list(news)))
    with two(tmp_path) as (at_once, one_by_one):
        batch = [Heard(device="pi-1", message=window(number)) for number in range(3)]
        _apply(at_once, batch, 1.0)
        for heard in batch:
            _apply(one_by_one, [heard], 1.0)
        assert kept(at_once)["behaviours"] != kept(one_by_one)["behaviours"]


_real_added = facts.behaviours._added


def _last_only(body: bytes, news: list[Telemetry | Event]) -> bytes:
    return _real_added(body, news[-1:])


@pytest.mark.parametrize("make", [window, crash, lambda number: Log(boot_id="b", batch=number, lines=(LINE,))])
def test_a_hundred_need_no_more_statements_than_one(tmp_path: Path, make: Callable[[int], UpMessage]) -> None:
    counts = []
    with two(tmp_path) as (first, second):
        for db, many in ((first, 1), (second, 100)):
            batch = [Heard(device=f"pi-{number}", message=make(number)) for number in range(many)]
            with counting(db) as statements:
                _apply(db, batch, 1.0)
            counts.append(len(statements))
    assert counts[0] == counts[1]


LINE = LogLine(at_s=1.0, level="info", event="e")


def test_of_two_with_one_number_the_first_counts(depot: Depot) -> None:
    told = [("pi-1", window(1, inferences=5)), ("pi-1", window(1, inferences=9)), ("pi-1", window(2, inferences=1))]
    assert facts.keep_windows(depot.db, told, now_s=1.0) == [True, False, True]
    assert facts.keep_windows(depot.db, told, now_s=2.0) == [False, False, False]
    with depot.db.read() as session:
        rows = session.scalars(sqlalchemy.select(TelemetryRow.inferences).order_by(TelemetryRow.window)).all()
        (body,) = session.scalars(sqlalchemy.select(BehaviourRow.body)).all()
    assert (rows, facts.behaviours._decoder.decode(body).inferences) == ([5, 1], 6)


def test_more_rows_than_one_statement_takes_are_all_kept(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "KEYS_TOGETHER", 3)
    told = [("pi-1", Log(boot_id="b", batch=number, lines=(LINE,) * 4)) for number in range(5)]
    assert facts.keep_logs(depot.db, told, now_s=1.0) == [True] * 5
    assert facts.keep_logs(depot.db, [*told, ("pi-1", Log(boot_id="b", batch=9, lines=()))], now_s=1.0) == [False] * 6
    with depot.db.read() as session:
        assert session.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(LogRow)) == 20


def test_of_the_devices_of_a_batch_one_that_is_decommissioned_is_passed_over(depot: Depot) -> None:
    for device in DEVICES:
        depot.device(device)
    with depot.db.write() as session:
        session.get_one(DeviceRow, "pi-2").decommissioned_s = 1.0
    told = [(device, window(1)) for device in DEVICES]
    assert facts.keep_windows(depot.db, told, now_s=2.0) == [True, False, True]
    assert facts.keep_events(depot.db, [(device, crash(1)) for device in DEVICES], now_s=2.0) == [True] * 3
    with depot.db.read() as session:
        assert {row.last_seen_s for row in session.scalars(sqlalchemy.select(DeviceRow))} == {2.0}
