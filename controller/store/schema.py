"""The schema's version: brought up to date at start; a newer one than ours is refused."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from wherry.controller.errors import NewerSchema

MIGRATIONS = Path(__file__).parent / "migrations"


def is_newest(engine: Engine) -> bool:
    """Whether there is nothing to bring up to date. Raises NewerSchema."""
    with engine.connect() as connection:
        return not _lacks(connection, ScriptDirectory.from_config(_config()))


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks, all in one transaction. Raises NewerSchema."""
    config = _config()
    with engine.begin() as connection:
        if _lacks(connection, ScriptDirectory.from_config(config)):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


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
