"""The database, SQLite or PostgreSQL: opening, migrating, and transactions.

Rules upheld here:
- What was committed survives a power cut: SQLite with WAL and synchronous=FULL, PostgreSQL as its operator set it up.
- There is one writer at a time. It takes the lock at its first statement, so that what it read is still true when it
  writes.
- A reader sees one moment, and waits for no writer.
- A database of a newer schema is refused, never touched.
- One controller at a time leads on a PostgreSQL database (`claim`), and only that one changes the schema; on SQLite the
  claim of the data directory sees to that.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from psycopg.errors import NumericValueOutOfRange
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import Session

from wherry.controller.errors import Invalid, Unavailable
from wherry.controller.store import schema
from wherry.controller.store.claim import KEEPALIVES, Claim

BUSY_TIMEOUT_MS = 10_000
CLAIM_TIMEOUT_MS = 5_000
"""PostgreSQL takes a moment to notice that a controller was killed."""

IDLE_WRITER_LIMIT_MS = 6_000
"""Between two statements of a transaction. A takeover by another controller waits for it."""

WRITER_LOCK = 0x77_68_65_72_72_79_01
"""An advisory lock of PostgreSQL, as in `claim`."""


class Database:
    """Transactions on one database. Sessions are not for sharing between threads; this object is."""

    def __init__(self, engine: Engine, claim: Claim | None = None) -> None:
        self.engine = engine
        self._reading = engine.execution_options(wherry_read=True)
        self._claim = claim

    @property
    def contested(self) -> bool:
        """Whether another controller can have the claim."""
        return self._claim is not None

    def claim(self) -> bool:
        """Whether this controller may lead from now on."""
        return self._claim is None or self._claim.gain()

    def first_claim(self, wait_ms: int) -> bool:
        """As `claim`, with patience for one that is just ending."""
        return self._claim is None or self._claim.gain(wait_ms)

    def keeps_claim(self) -> bool:
        """Ask whether it still may."""
        return self._claim is None or self._claim.keep()

    def let_go(self) -> None:
        """Let another one lead."""
        if self._claim is not None:
            self._claim.let_go()

    @property
    def claimed(self) -> bool:
        """Whether it was so when last asked."""
        return self._claim is None or self._claim.held

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed at the end of the block, undone where the block raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view, which does not wait for the writer."""
        with Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def together(self) -> Iterator["Database"]:
        """One transaction, and one wait for the disk, for many operations on the database that it gives.

        One that fails undoes only what it did itself. Nothing of any of them is durable before the end of the block.
        """
        with self.write() as session:
            yield _Together(self.engine, session)

    def close(self) -> None:
        self.let_go()
        self.engine.dispose()


class _Together(Database):
    """A transaction that is under way: what would be one of its own is a savepoint in it."""

    def __init__(self, engine: Engine, session: Session) -> None:
        super().__init__(engine)
        self._session = session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self._session.begin_nested():
            yield self._session

    @contextmanager
    def read(self) -> Iterator[Session]:
        yield self._session


def open_database(place: Path | str, *, stand_by: bool = False) -> Database:
    """Open the SQLite file, or the database that a `postgresql://` URL names, and bring its schema up to date.

    A file is made where there is none. Raises NewerSchema, Invalid for what is no such URL, or Unavailable where the
    database cannot be used. Another controller that has the claim on it is Unavailable, too, unless one is to
    `stand_by`: `claimed` is then False.
    """
    engine = make_engine(place)
    with ExitStack() as undo:
        undo.callback(engine.dispose)
        try:
            db = Database(engine, Claim(engine) if engine.dialect.name == "postgresql" else None)
            undo.callback(db.let_go)
            _settle(db, stand_by=stand_by)
        except DatabaseError as error:
            cause = " ".join(str(error.orig).split())
            raise Unavailable(f"cannot use the database {_name(place)}: {cause}", _fix(engine)) from error
        undo.pop_all()
    return db


def _settle(db: Database, *, stand_by: bool) -> None:
    """Have the claim and the newest schema; or neither, where another controller has seen to both."""
    if db.first_claim(0 if stand_by else CLAIM_TIMEOUT_MS):
        schema.upgrade(db.engine)
    elif not stand_by:
        raise Unavailable(
            "another controller works on this database",
            "stop that one first, or name another database, or use --broker external to stand by for it",
        )
    elif not schema.is_newest(db.engine):
        raise Unavailable("the controller that works on this database is an older one", "stop that one first")


def make_engine(place: Path | str) -> Engine:
    """An engine whose connections have the settings that this module's rules need. Raises Invalid."""
    if isinstance(place, str):
        engine = create_engine(_postgresql(place))
        event.listen(engine, "connect", _configure_postgresql)
        event.listen(engine, "begin", _begin_postgresql)
        event.listen(engine, "handle_error", _tell_overflow)
        return engine
    engine = create_engine(f"sqlite:///{place}", connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError:
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres"):
        raise Invalid(f"not a database: {_name(text)}", "use postgresql://USER@HOST/NAME")
    return url.set(drivername="postgresql+psycopg")


def _name(place: Path | str) -> str:
    """The place without its password."""
    if isinstance(place, Path):
        return str(place)
    try:
        return make_url(place).render_as_string(hide_password=True)
    except ArgumentError:
        return "that is no URL"


def _fix(engine: Engine) -> str:
    if engine.dialect.name == "postgresql":
        return "check that the server runs, that the database is there, and the user's rights"
    return "check the directory and its rights"


def _configure_postgresql(connection: Any, _record: Any) -> None:
    """The writer's lock of a controller that stands still, or whose machine is gone, is let go of within seconds."""
    with connection.cursor() as cursor:
        for setting in (f"idle_in_transaction_session_timeout = {IDLE_WRITER_LIMIT_MS}", *KEEPALIVES):
            cursor.execute(f"SET {setting}")
    connection.commit()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _tell_overflow(context: ExceptionContext) -> None:
    """A number that no row can have is the same error as the driver of SQLite raises."""
    if isinstance(context.original_exception, NumericValueOutOfRange):
        raise OverflowError("a number is larger than any that can be kept") from context.original_exception


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN" if _is_reading(connection) else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_isolation_level() == "AUTOCOMMIT":
        return
    if _is_reading(connection):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")


def _is_reading(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("wherry_read", False))
