"""Databases of every earlier schema, with all that was in them, and a rollout that was under way.

`tests/golden/database/{revision}.json` holds the rows that the controller of that schema itself wrote, in every table
that it had: two versions, three boards, a rollout that has completed, and one whose canary has committed, whose second
board is busy with it and whose third is waiting. They are put into tables that the migrations up to that revision have
made, and opened by the controller of today.
"""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from tests.support.postgres import create_database
from wherry.controller.core.plan import WaveStep
from wherry.controller.operations import (
    actions,
    aliases,
    audit,
    conversions,
    devices,
    pins,
    registry,
    rollouts,
    uploads,
)
from wherry.controller.operations.story import story
from wherry.controller.store.database import Database, make_engine, open_database
from wherry.controller.store.schema import MIGRATIONS
from wherry.controller.store.tables import Base

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[2] / "golden" / "database"
REVISIONS = ("0001", "0002", "0003", "0004")
NOW_S = 5100.0
BOARDS = ("pi-1", "pi-2", "pi-3")

Place = Path | str
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> str | None:
    """The URL of PostgreSQL, to which a name is added; None for SQLite."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture(scope="module", params=REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def migrated(server: str | None, revision: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A database of the revision that the controller of today has opened once. Tests work on copies of it."""
    path = tmp_path_factory.mktemp("migrated") / "old.db"
    place: Place = path if server is None else create_database(server, f"old-{revision}")
    write_old(place, revision)
    open_database(place).close()
    return place


@pytest.fixture
def place(migrated: Place, server: str | None, revision: str, tmp_path: Path) -> Place:
    if server is None:
        return Path(shutil.copyfile(migrated, tmp_path / "copy.db"))
    return create_database(server, f"copy-{uuid.uuid4().hex}", template=f"old-{revision}")


@pytest.fixture
def db(place: Place) -> Iterator[Database]:
    db = open_database(place)
    yield db
    db.close()


def recorded(revision: str) -> Rows:
    return msgspec.json.decode((GOLDEN / f"{revision}.json").read_bytes(), type=Rows)


def write_old(place: Place, revision: str) -> None:
    """Make the database of then, with a row in each of its tables at least."""
    engine = make_engine(place)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        tables = sa.MetaData()
        tables.reflect(connection)
        rows = recorded(revision)
        assert rows.keys() == tables.tables.keys() - {"alembic_version"}
        connection.execute(sa.delete(tables.tables["meta"]))  # the migration has said which epoch it is
        for table in tables.sorted_tables:
            if table.name in rows:
                connection.execute(sa.insert(table), [_values(table, row) for row in rows[table.name]])
    engine.dispose()


def _values(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    """The row as the driver takes it; numbers that the database itself counts are left to it."""
    counted = {column.name for column in table.primary_key if isinstance(column.type, sa.Integer)} & {"id"}
    return {
        column.name: value.encode() if is_binary(column) and value is not None else value
        for column in table.columns
        if column.name not in counted
        for value in (row.get(column.name),)
    }


def is_binary(column: "sa.Column[Any]") -> bool:
    return isinstance(column.type, sa.LargeBinary)


def kept(db: Database, rows: Rows) -> Rows:
    """Of each table and of each column that is named in `rows`, what the database has now."""
    found: Rows = {}
    with db.read() as session:
        for name, told in rows.items():
            table = Base.metadata.tables[name]
            columns = [column for column in table.columns if any(column.name in row for row in told)]
            answer = session.execute(sa.select(*columns).order_by(*table.primary_key.columns)).mappings()
            found[name] = sorted((_plain(row) for row in answer), key=msgspec.json.encode)
    return found


def _plain(row: sa.RowMapping) -> dict[str, Any]:
    return {
        str(name): value.decode() if isinstance(value, bytes) else value
        for name, value in sorted(row.items())
        if value is not None
    }


def lost(db: Database, revision: str) -> list[str]:
    """The tables that do not have what was in them, or have more."""
    told = {
        name: sorted((dict(sorted(row.items())) for row in rows), key=msgspec.json.encode)
        for name, rows in recorded(revision).items()
    }
    found = kept(db, told)
    return [name for name, rows in told.items() if found[name] != rows]


def test_nothing_that_was_there_is_lost_or_changed(db: Database, revision: str, place: Place) -> None:
    assert lost(db, revision) == []
    engine = make_engine(place)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_a_row_that_is_lost_and_one_that_is_changed_are_found(db: Database, revision: str) -> None:
    """The negative control."""
    with db.write() as session:
        session.execute(sa.text("DELETE FROM logs"))
        session.execute(sa.text("UPDATE desired SET generation = generation + 1 WHERE device = 'pi-2'"))
    assert lost(db, revision) == ["desired", "logs"]


def test_what_is_new_is_derived_from_what_was_there(db: Database, revision: str) -> None:
    def ask(statement: str) -> list[Any]:
        with db.read() as session:
            return [tuple(row) for row in session.execute(sa.text(statement))]

    assert ask("SELECT name, newest FROM models") == [("digits", 2)]
    assert ask("SELECT count(*) FROM devices WHERE presence_s != last_seen_s") == [(0,)]
    assert ask("SELECT DISTINCT restore_from FROM rollouts") == [(1,)]
    assert [bytes(found) for (found,) in ask("SELECT overrides FROM rollouts")] == [b"[]"] * 2
    entries = ask("SELECT attempts, sent IS NOT NULL FROM rollout_devices ORDER BY rollout, wave")
    assert [(attempts, bool(sent)) for attempts, sent in entries] == [(1, True)] * 5 + [(0, False)]


def test_the_operations_read_all_of_it(db: Database, revision: str) -> None:
    assert [view.name for view in registry.list_models(db)] == ["digits"]
    assert [view.number for view in registry.list_versions(db, "digits")] == [2, 1]
    assert registry.get_version(db, "digits:2").manifest.variants[0].name == "int8"
    assert [view.id for view in devices.list_devices(db)] == list(BOARDS)
    for board in BOARDS:
        detail = devices.get_device(db, board, now_s=NOW_S)
        assert detail.device.birth is not None
        assert detail.readings
        assert story(db, board).happenings
    assert [line.event for line in devices.get_logs(db, "pi-1")] == ["started"]
    assert [view.state for view in rollouts.list_rollouts(db)] == ["running", "completed"]
    assert len(audit.list_audit(db)) == len(recorded(revision)["audit"])
    assert [view.action.kind for view in actions.list_actions(db, "pi-1", now_s=NOW_S)] == _since("0003", revision, 2)
    assert [view.state for view in conversions.list_conversions(db)] == (
        ["queued", "running"] if revision >= "0002" else []
    )


def _since(first: str, revision: str, count: int) -> list[str]:
    return ["collect-logs"] * count if revision >= first else []


@pytest.mark.parametrize("revision", REVISIONS[2:], indirect=True, scope="module")
def test_what_an_order_brought_is_there_and_the_rest_of_it_is_still_taken(db: Database) -> None:
    assert uploads.get_whole(db, "pi-1", "whole").data == b"what it logged"
    upload = actions.get_action(db, "pi-1", "part", now_s=NOW_S).upload
    assert upload is not None
    assert (upload.blocks_here, upload.blocks) == (1, 2)


@pytest.mark.parametrize("revision", REVISIONS[1:], indirect=True, scope="module")
def test_a_conversion_that_was_running_is_done_once_more(db: Database) -> None:
    conversions.recover(db, now_s=NOW_S)
    job = conversions.take(db, now_s=NOW_S)
    assert job is not None
    assert (job.id, job.attempt, job.order.notes) == (1, 2, "first")


def test_the_rollout_that_was_under_way_goes_on_to_its_end(db: Database, revision: str) -> None:
    depot = _depot(db)
    members = {entry.wave: entry for entry in rollouts.get_rollout(db, 2).devices}
    canary, second, third = (members[wave].device for wave in (1, 2, 3))
    assert [members[wave].standing for wave in (1, 3)] == ["committed", "waiting"]
    order = depot.desired(canary)
    for device in (second, third):
        depot.commit(device)
        assert not _turn(depot).ended_s, "the inferences of the wave are lacking"
        depot.telemetry(device, depot.desired(device).slots[0].ref, latencies_ms=(1.0, 2.0))
        _turn(depot)
    ended = rollouts.get_rollout(db, 2)
    assert (ended.state, {entry.standing for entry in ended.devices}) == ("completed", {"committed"})
    assert depot.desired(canary) == order, "nobody was ordered twice"
    assert [str(depot.runs(board)) for board in BOARDS] == ["digits:2"] * 3


def _depot(db: Database) -> Depot:
    """Whose boards count their windows on: one that was told before is ignored."""
    depot = Depot.of(db, NOW_S)
    depot._windows = 100
    return depot


def _turn(depot: Depot) -> rollouts.RolloutView:
    depot.now_s += 1
    rollouts.tick(depot.db, now_s=depot.now_s)
    return rollouts.get_rollout(depot.db, 2)


def test_what_was_going_wrong_is_taken_back(db: Database, revision: str) -> None:
    """The gates judge a wave that an earlier controller has opened, and give back what it had kept."""
    depot = _depot(db)
    second = next(entry.device for entry in rollouts.get_rollout(db, 2).devices if entry.wave == 2)
    depot.refuse(second, "reverted", "too slow")
    assert _turn(depot).state == "reverting"
    depot.commit(*BOARDS)
    assert _turn(depot).state == "reverted"
    assert [str(depot.runs(board)) for board in BOARDS] == ["digits:1"] * 3


def test_everything_new_is_done_on_it(db: Database, revision: str) -> None:
    """Numbers are counted on, and the new tables refer to the old rows."""
    depot = _depot(db)
    assert depot.version("c").number == 3
    aliases.set_alias(db, "digits", "best", 2, now_s=NOW_S, actor="ann")
    pins.pin(db, "pi-1", "main", reason="on show", now_s=NOW_S, actor="ann")
    rollouts.abort(db, 2, restore="revert", now_s=NOW_S, actor="ann")
    depot.commit(*BOARDS)
    _turn(depot)
    assert (audit.list_audit(db)[0].action, rollouts.get_rollout(db, 2).state) == ("rollout-aborted", "aborted")
    plan = make_plan(3, waves=(WaveStep(amount=100, percent=True),))
    assert rollouts.start(db, plan, now_s=depot.now_s, actor="ann").id == 3
    assert {entry.device for entry in rollouts.get_rollout(db, 3).devices if entry.wave} == set(BOARDS[1:])
