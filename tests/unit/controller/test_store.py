"""The SQLite file: its settings, its migrations, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.orm import Session

from tests.support.depot import Depot
from wherry.controller.core.conversion_order import ConversionOrder, Input
from wherry.controller.errors import NewerSchema, Unavailable
from wherry.controller.operations import conversions, devices, registry
from wherry.controller.operations.documents import current_epoch
from wherry.controller.store.database import make_engine, open_database
from wherry.controller.store.schema import MIGRATIONS
from wherry.controller.store.tables import Base, BlobRow


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    depot = Depot(tmp_path / "wherry.db")
    yield depot
    depot.db.close()


def test_migrations_lead_from_nothing_to_the_tables_that_the_code_knows(depot: Depot) -> None:
    engine = make_engine(depot.path)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_a_database_at_0001_is_brought_up_to_date_with_all_that_is_in_it(tmp_path: Path) -> None:
    """Made as the controller before conversions made it, and filled through tables that have not changed since."""
    path = tmp_path / "old.db"
    engine = make_engine(path)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO devices (id, first_seen_s, last_seen_s, presence, session,"
            " reported_epoch, reported_generation)"
            " VALUES ('pi-1', 1.0, 2.0, 'online', 1, 0, 0)"
        )
    with Session(engine) as session, session.begin():
        session.add(BlobRow(digest="0" * 64, size_bytes=1, hashes=None, created_s=1.0))
    with engine.connect() as connection:
        differs = compare_metadata(MigrationContext.configure(connection), Base.metadata)
        assert {entry[1].name for entry in differs if entry[0] == "add_table"} > {"conversions"}, "it was an old one"
    engine.dispose()
    db = open_database(path)
    assert [device.id for device in devices.list_devices(db)] == ["pi-1"]
    assert conversions.list_conversions(db) == []
    given = Input(digest="0" * 64, file_name="net.keras")
    found, _ = conversions.create(
        db, ConversionOrder(model="digits", source=given, calibration=given), now_s=3.0, actor="ann"
    )
    db.close()
    assert found.state == "queued", "the blob of before is known"


def test_what_was_written_is_there_when_it_is_opened_again(depot: Depot) -> None:
    depot.version("a")
    depot.device("pi-1")
    depot.reopen()
    assert registry.get_version(depot.db, "digits:1").number == 1
    assert [device.id for device in devices.list_devices(depot.db)] == ["pi-1"]


def test_every_connection_is_durable(depot: Depot) -> None:
    with depot.db.write() as session:
        asked = ("journal_mode", "synchronous", "foreign_keys")
        found = [session.connection().exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
    assert found == ["wal", 2, 1], "2 is FULL"


def test_a_new_database_is_of_epoch_1(depot: Depot) -> None:
    with depot.db.read() as session:
        assert current_epoch(session) == 1


def test_a_newer_schema_is_refused_in_one_line_and_left_alone(depot: Depot) -> None:
    depot.db.close()
    engine = make_engine(depot.path)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    before = depot.path.read_bytes()
    with pytest.raises(NewerSchema) as refused:
        open_database(depot.path)
    assert "schema 9999" in refused.value.line
    assert "\n" not in refused.value.line
    assert depot.path.read_bytes() == before


@pytest.mark.parametrize("name", ["missing/wherry.db", "."])
def test_a_path_that_cannot_be_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unavailable, match="cannot use the database"):
        open_database(tmp_path / name)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "wherry.db"
    path.write_bytes(b"something else entirely, and long enough to be read" * 40)
    with pytest.raises(Unavailable, match="not a database"):
        open_database(path)
    assert path.read_bytes().startswith(b"something else")


def test_a_transaction_that_fails_leaves_nothing(depot: Depot) -> None:
    def full(_data: bytes) -> None:
        raise OSError("no space left")

    view = depot.version("a")
    manifest = view.manifest.__class__(model="doors", variants=view.manifest.variants)
    with pytest.raises(OSError, match="no space"):
        registry.create_version(depot.db, manifest, report=b"{}", keep=full, now_s=1.0, actor="ann")
    assert [model.name for model in registry.list_models(depot.db)] == ["digits"]
