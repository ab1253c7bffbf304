"""Rows that may arrive twice."""

from typing import Any

from sqlalchemy import literal_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from wherry.controller.store.tables import Base


def insert_new(session: Session, table: type[Base], values: dict[str, Any]) -> bool:
    """Insert the row unless one with its key is there; whether it was new."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(values).on_conflict_do_nothing()
    return session.connection().execute(statement.returning(literal_column("1"))).first() is not None
