"""The database on a real PostgreSQL server: its migrations, its locks, and what it refuses."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import InternalError

from tests.support.depot import Depot
from wherry.controller.errors import Deposed, Invalid, NewerSchema, Unavailable
from wherry.controller.operations import audit, devices
from wherry.controller.store import database
from wherry.controller.store.database import Database, make_engine, open_database
from wherry.controller.store.leader import LeaderDatabase, leader_url
from wherry.controller.store.tables import Base, DeviceRow

pytestmark = pytest.mark.slow


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    db = open_database(url)
    yield db
    db.close()


def test_migrations_lead_from_nothing_to_the_tables_that_the_code_knows(url: str, db: Database) -> None:
    engine = make_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    db.close()


def test_one_controller_works_on_a_database_and_the_next_may_when_it_has_gone(
    url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CLAIM_TIMEOUT_MS", 100)
    with pytest.raises(Unavailable, match="another controller works on this database"):
        open_database(url)
    db.close()
    open_database(url).close()


def test_one_that_stands_by_may_lead_once_the_claim_is_let_go_and_no_sooner(url: str, db: Database) -> None:
    second = open_database(url, stand_by=True)
    assert (second.claimed, second.claim(), second.keeps_claim()) == (False, False, False)
    assert devices.list_devices(second) == [], "it answers meanwhile"
    db.let_go()
    assert (second.claim(), second.keeps_claim(), db.claim()) == (True, True, False)
    second.close()


def test_a_session_that_is_ended_at_the_server_has_lost_the_claim(url: str, db: Database) -> None:
    held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    assert db.keeps_claim()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(held)
    assert not db.keeps_claim()
    assert db.claim(), "it may be gained anew"


def test_nothing_is_written_for_a_lead_after_the_next_one_has_begun(url: str, db: Database) -> None:
    """The old leader does not know it yet: its claim's session was cut, and it has not asked since."""
    old = LeaderDatabase(db)
    assert old.begin("http://old") == 1
    with old.write() as session:
        session.add(_device("pi-1"))
    assert LeaderDatabase(db).begin("http://new") == 2
    with pytest.raises(Deposed), old.write() as session:
        session.add(_device("pi-2"))
    with pytest.raises(Deposed), old.together():
        pass
    assert [device.id for device in devices.list_devices(db)] == ["pi-1"]
    assert leader_url(db) == "http://new"


def test_one_that_stands_by_changes_no_schema_and_refuses_an_older_leader(url: str, db: Database) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
    with pytest.raises(Unavailable, match="is an older one"):
        open_database(url, stand_by=True)


def test_a_writer_waits_for_the_writer_before_it_and_reads_what_that_wrote(db: Database) -> None:
    """Without the lock both would read none, and both would write."""
    found: list[int] = []
    entered = threading.Event()

    def write_if_first() -> None:
        entered.set()
        with db.write() as session:
            found.append(session.query(DeviceRow).count())
            if not found[-1]:
                session.add(_device("pi-1"))

    with db.write() as session:
        session.add(_device("pi-2"))
        session.flush()
        other = threading.Thread(target=write_if_first)
        other.start()
        assert entered.wait(20)
    other.join(20)
    assert found == [1]


def test_a_reader_sees_one_moment_and_waits_for_nobody(db: Database) -> None:
    with db.read() as reader:
        assert reader.query(DeviceRow).count() == 0
        with db.write() as session:
            session.add(_device("pi-1"))
        assert reader.query(DeviceRow).count() == 0
    with db.read() as reader:
        assert reader.query(DeviceRow).count() == 1


def test_a_reader_cannot_write(db: Database) -> None:
    def write() -> None:
        with db.read() as session:
            session.add(_device("pi-1"))

    with pytest.raises(InternalError, match="read-only transaction"):
        write()


def test_what_a_device_may_say_and_postgresql_does_not_take_is_replaced(url: str) -> None:
    depot = Depot(url)
    depot.device("pi-1")
    with depot.db.write() as session:
        audit.record(session, "tested", "pi\0-1", now_s=1.0, actor="\0")
        session.get_one(DeviceRow, "pi-1").presence = "on\0line"
    assert devices.list_devices(depot.db)[0].presence == "on\N{REPLACEMENT CHARACTER}line"
    depot.db.close()


def test_a_newer_schema_is_refused(url: str, db: Database) -> None:
    db.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerSchema, match="schema 9999"):
        open_database(url)


def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    with pytest.raises(Unavailable) as refused:
        open_database("postgresql://ann:secret@/wherry?host=/nowhere")
    assert "cannot use the database postgresql://ann:***@/wherry" in refused.value.line
    assert "\n" not in refused.value.line
    assert "secret" not in refused.value.line


def test_a_database_that_is_not_there_is_one_line(postgres: str) -> None:
    with pytest.raises(Unavailable, match='database "nobody" does not exist'):
        open_database(postgres.format("nobody"))


@pytest.mark.parametrize("text", ["", "wherry.db", "mysql://ann@host/wherry", "postgresql+psycopg2://host/x", "://"])
def test_what_is_no_postgresql_url_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a database"):
        open_database(text)


def _device(name: str) -> DeviceRow:
    return DeviceRow(
        id=name, first_seen_s=1.0, last_seen_s=2.0, presence="online", presence_s=1.0, session=1, birth=None,
        reported=None, reported_epoch=0, reported_generation=0, removed_s=None,
    )  # fmt: skip
