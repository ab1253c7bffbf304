"""The schema's version: brought up to date at start; a newer one than ours is refused."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from wherry.controller.errors import NewerSchema

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks, all in one transaction. Raises NewerSchema."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current == script.get_current_head():
            return
        known = {entry.revision for entry in script.walk_revisions()}
        if current is not None and current not in known:
            raise NewerSchema(
                f"the database {engine.url.database} has the schema {current}, which this Wherry does not know",
                "use the newer Wherry that wrote it, or another state directory",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
