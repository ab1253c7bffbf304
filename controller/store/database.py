"""The SQLite database: opening, migrating, and transactions.

Rules upheld here:
- What was committed survives a power cut: WAL with synchronous=FULL.
- A writer takes the lock at its first statement, so that what it read is still true when it writes.
- A database of a newer schema is refused, never touched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from wherry.controller.errors import Unavailable
from wherry.controller.store import schema

BUSY_TIMEOUT_MS = 10_000


class Database:
    """Transactions on one database. Sessions are not for sharing between threads; this object is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(wherry_read=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed at the end of the block, undone where the block raises."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view, which does not wait for the writer."""
        with Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        self._engine.dispose()


def open_database(path: Path) -> Database:
    """Open or make the database at `path` and bring its schema up to date.

    Raises NewerSchema, or Unavailable where the file cannot be used.
    """
    engine = make_engine(path)
    try:
        schema.upgrade(engine)
    except DatabaseError as error:
        engine.dispose()
        raise Unavailable(
            f"cannot use the database {path}: {error.orig}", "check the directory and its rights"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return Database(engine)


def make_engine(path: Path) -> Engine:
    """An engine whose connections have the settings that this module's rules need."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("wherry_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
