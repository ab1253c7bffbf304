"""Kills a process at each statement that an operation says to its database.

A child, forked from the warm process of the test, does the operation on a copy of a database and kills itself with
SIGKILL before its N-th statement, before a commit, or after one. Between the answer to a statement and the next one
nothing reaches the database, so these are all the moments that differ.
"""

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url

from wherry.controller.store.database import Database, make_engine

Operate = Callable[[Database], object]
Place = Path | str


class Moment:
    """Calls `passing` at each moment of one engine, with the name of what it is about to do."""

    NAMES = {"before_cursor_execute": "statement", "commit": "commit", "checkin": "end"}
    """Given back to the pool is what follows a commit: it is durable, and nobody has been told."""

    def __init__(self, engine: Engine, passing: Callable[[str], None]) -> None:
        for happening, name in self.NAMES.items():
            event.listen(engine, happening, partial(self._pass, passing, name))

    @staticmethod
    def _pass(passing: Callable[[str], None], name: str, *_: object) -> None:
        passing(name)


def moments(place: Place, operate: Operate) -> list[str]:
    """What the operation does to the database, by name, when nobody kills it."""
    told: list[str] = []
    engine = make_engine(place)
    try:
        Moment(engine, told.append)
        operate(Database(engine))
        return list(told)
    finally:
        engine.dispose()


def killed(place: Place, operate: Operate, at: int) -> bool:
    """Whether a process that did it on the database was killed at its moment `at`; False where it came through."""
    child = os.fork()
    if child == 0:
        _operate_and_leave(place, operate, at)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the operation failed in the child"
    return False


def _operate_and_leave(place: Place, operate: Operate, at: int) -> None:
    status = 1
    try:
        engine = _engine(place)
        engine.dispose(close=False)  # the connections are the parent's
        passed = count(1)

        def die_in_time(_name: str) -> None:
            if next(passed) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        Moment(engine, die_in_time)
        operate(Database(engine))
        status = 0
    finally:
        os._exit(status)


@contextmanager
def opened(place: Place) -> Iterator[Database]:
    """As the next process finds it."""
    engine = _engine(place)
    try:
        yield Database(engine)
    finally:
        engine.dispose()


@lru_cache(maxsize=1)
def _engine(place: Place) -> Engine:
    """Kept for the next copy at the same place: a new one would learn every statement anew."""
    return make_engine(place)


class Copies:
    """Makes copies of one database that nobody has open, one after the other at one place, and removes them."""

    def __init__(self, original: Place, scratch: Path) -> None:
        self._original, self._scratch = original, scratch
        self._name = f"copy-{uuid.uuid4().hex}"

    @contextmanager
    def copy(self) -> Iterator[Place]:
        if isinstance(self._original, Path):
            path = self._scratch / "copy.db"
            for leftover in self._scratch.glob("copy.db*"):
                leftover.unlink()
            shutil.copyfile(self._original, path)
            yield path
            return
        url, name = make_url(self._original), self._name
        self._ask(f'CREATE DATABASE "{name}" TEMPLATE "{url.database}" STRATEGY FILE_COPY')
        yield url.set(database=name).render_as_string(hide_password=False)
        self._ask(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _ask(self, statement: str) -> None:
        server = make_url(self._original).set(database="postgres")
        with closing(psycopg.connect(server.render_as_string(hide_password=False), autocommit=True)) as connection:
            connection.execute(statement.encode())


def rows(db: Database, statements: dict[str, str]) -> dict[str, list[tuple[Any, ...]]]:
    """What each of the statements finds."""
    with db.read() as session:
        found = {name: session.connection().exec_driver_sql(text).fetchall() for name, text in statements.items()}
    return {name: [tuple(row) for row in answer] for name, answer in found.items()}
