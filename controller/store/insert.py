"""Inserts that say what is to happen where the key is there already, in the words of the database."""

from typing import Any

from sqlalchemy import literal_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from wherry.controller.store.tables import Base

Insert = postgresql.Insert | sqlite.Insert


def insert_into(session: Session, table: type[Base]) -> Insert:
    """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(table)


def insert_new(session: Session, table: type[Base], values: dict[str, Any]) -> bool:
    """Insert the row unless one with its key is there; whether it was new."""
    statement = insert_into(session, table).values(values).on_conflict_do_nothing()
    return session.connection().execute(statement.returning(literal_column("1"))).first() is not None
