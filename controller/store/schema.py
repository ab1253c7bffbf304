"""The schema's version: brought up to date at start; a newer one than ours is refused.

Rule upheld here: migrations leave every row that they are not about, and every reference among them. SQLite changes a
table by making it anew and dropping the old one, which other rows refer to: it asks for references once, at the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from wherry.controller.errors import NewerSchema, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"


def is_newest(engine: Engine) -> bool:
    """Whether there is nothing to bring up to date. Raises NewerSchema."""
    with engine.connect() as connection:
        return not _lacks(connection, ScriptDirectory.from_config(_config()))


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks, all in one transaction. Raises NewerSchema or Unavailable."""
    config = _config()
    with engine.connect() as connection, _references_asked_for_at_the_end(connection):
        if _lacks(connection, ScriptDirectory.from_config(config)):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def _references_asked_for_at_the_end(connection: Connection) -> Iterator[None]:
    """A transaction. SQLite takes the setting outside of one alone; PostgreSQL needs none."""
    if connection.dialect.name != "sqlite":
        with connection.begin():
            yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA foreign_keys=OFF").close()
    try:
        with connection.begin():
            yield
            _check_references(connection)
    finally:
        driver.execute("PRAGMA foreign_keys=ON").close()


def _check_references(connection: Connection) -> None:
    broken = {str(row[0]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")}
    if broken:
        raise Unavailable(
            f"rows of {', '.join(sorted(broken))} refer to what is not there", "use the Wherry that wrote the database"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _lacks(connection: Connection, script: ScriptDirectory) -> bool:
    """Whether migrations are lacking. Raises NewerSchema."""
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {entry.revision for entry in script.walk_revisions()}:
        raise NewerSchema(
            f"the database {connection.engine.url.database} has the schema {current}, which this Wherry does not know",
            "use the newer Wherry that wrote it, or another state directory",
        )
    return current != script.get_current_head()
