"""Databases that are used again and again, for tests of what is in them.

Rules upheld here:
- Whoever takes one finds it as the migrations leave it, whatever was done to its rows before, and nobody else in it.
- Its engine is kept. A new one would learn every statement anew, which takes longer than most tests take for all else.
"""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect

from wherry.controller.store.claim import Claim
from wherry.controller.store.database import CLAIM_TIMEOUT_MS, Database, make_engine, open_database

MEMORY = Path("/dev/shm")
"""Where there is one, SQLite waits for no disk."""


SHAPE = """
SELECT md5(string_agg(part, ' ' ORDER BY part)) FROM (
    SELECT concat('relation ', oid, relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat('column ', attrelid, attname, atttypid, attnotnull) FROM pg_attribute
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    UNION ALL SELECT concat('constraint ', oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat('trigger ', oid, tgenabled) FROM pg_trigger
) AS parts (part)
"""
"""What is no row, as PostgreSQL keeps account of it."""


class Berth:
    """`place` is what `open_database` takes."""

    def __init__(self, place: Path | str) -> None:
        self.place = place
        open_database(place).close()
        self._engine = make_engine(place)

    def open(self) -> Database:
        """As a controller that starts finds it: nothing is there but what was committed.

        Whoever listens to its engine listens no more when it is opened the next time.
        """
        self._engine.dispose()
        engine = self._engine.execution_options()
        db = Database(engine, Claim(engine) if engine.dialect.name == "postgresql" else None)
        assert db.first_claim(CLAIM_TIMEOUT_MS), "somebody else works on it"
        return db

    def clear(self) -> bool:
        """Make it as it was at first; False where that cannot be done."""
        raise NotImplementedError

    def close(self) -> None:
        self._engine.dispose()


class SqliteBerth(Berth):
    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wherry-berth-", dir=MEMORY if MEMORY.is_dir() else None))
        super().__init__(self._directory / "wherry.db")
        self._file = self._directory / "wherry.db"
        self._empty = self._file.read_bytes()

    def clear(self) -> bool:
        """By a file of its own: who still has the old one open writes to that one."""
        self._engine.dispose()
        for path in self._directory.iterdir():
            path.unlink()
        self._file.write_bytes(self._empty)
        return True

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._directory)


class PostgresqlBerth(Berth):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        with self._engine.begin() as connection:
            self._clearing = "; ".join(_clearing(connection))
            self._made = connection.exec_driver_sql(SHAPE).scalar()

    def clear(self) -> bool:
        """Its rows; a test that made an index has had its last use of it."""
        self._engine.dispose()
        with self._engine.begin() as connection:
            connection.exec_driver_sql(self._clearing)
            return bool(connection.exec_driver_sql(SHAPE).scalar() == self._made)


def _clearing(connection: Connection) -> Iterator[str]:
    """Statements that make the database as it is now. To empty a table by TRUNCATE takes far longer."""
    yield (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    yield "SET LOCAL session_replication_role = replica"
    connection.exec_driver_sql("CREATE SCHEMA kept")
    for table in inspect(connection).get_table_names():
        connection.exec_driver_sql(f'CREATE TABLE kept."{table}" AS TABLE "{table}"')
        yield f'DELETE FROM "{table}"'  # noqa: S608  a name of our own
        yield f'INSERT INTO "{table}" SELECT * FROM kept."{table}"'  # noqa: S608
    for (sequence,) in connection.exec_driver_sql("SELECT sequencename FROM pg_sequences WHERE last_value IS NULL"):
        yield f"SELECT setval('{sequence}', 1, false)"


class Berths:
    """All there are of a process. They are made when they are wanted, and given back when the test ends."""

    def __init__(self) -> None:
        self._free: dict[str, list[Berth]] = defaultdict(list)

    @contextmanager
    def taken(self, kind: str, make: Callable[[], Berth]) -> Iterator[Berth]:
        berth = self._cleared(kind) or make()
        yield berth
        self._free[kind].append(berth)

    def _cleared(self, kind: str) -> Berth | None:
        free = self._free[kind]
        while free:
            berth = free.pop()
            if berth.clear():
                return berth
            berth.close()
        return None

    def close(self) -> None:
        for berths in self._free.values():
            for berth in berths:
                berth.close()
