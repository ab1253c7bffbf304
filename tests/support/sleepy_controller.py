"""A controller that falls asleep where a test tells it to: `python -m tests.support.sleepy_controller CONFIG`.

It stops itself with SIGSTOP at the next moment of the kind that was told:

    heard      it has a device's report of a trial in its hands, and has written nothing of it
    deciding   in a transaction, it has decided to open a wave, and has written nothing of that

and once more when what it was at has come to its end, so that a test sees what came of it and nothing else. Until then
it does without the parts of its fence that were named, for negative controls:

    term       only the newest term writes
    order      writers come one after another
    limit      the server ends a transaction that stands still
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from tests.support import controller_process
from tests.support.controller_process import LIMIT_S, ControllerProcess
from tests.support.wait import wait_until
from wherry.controller import intake
from wherry.controller.adapters.broker_session import Heard
from wherry.controller.core.actions import Action, Promote
from wherry.controller.core.standing import AT_REST
from wherry.controller.operations import carry_out, rollouts
from wherry.controller.store import database
from wherry.controller.store.database import Database
from wherry.controller.store.leader import LeaderDatabase
from wherry.protocol.up import Reported

Moment = Literal["heard", "deciding"]
Part = Literal["term", "order", "limit"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """When to fall asleep, and which parts of the fence are missing from now on until it has woken up."""

    moment: Moment
    without: tuple[Part, ...] = ()


class SleepyController(ControllerProcess):
    """`sleep_at`, `await_sleep`, then `wake` when somebody else has taken over, and `go_on`."""

    module = __name__

    def sleep_at(self, moment: Moment, without: tuple[Part, ...] = ()) -> None:
        path = _order_file(self._file)
        path.with_suffix(".new").write_bytes(msgspec.json.encode(Order(moment=moment, without=without)))
        path.with_suffix(".new").rename(path)

    def await_sleep(self) -> None:
        process = psutil.Process(self.process.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it has fallen asleep", LIMIT_S)

    def wake(self) -> None:
        """Return when it has come to the end of what it was at, and does nothing more."""
        self.go_on()
        self.await_sleep()

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Sleeper:
    """Falls asleep once for each order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_slept = False

    @property
    def _order(self) -> Order | None:
        return msgspec.json.decode(self._path.read_bytes(), type=Order) if self._path.exists() else None

    def lacks(self, part: Part) -> bool:
        order = self._order
        return order is not None and part in order.without

    def fall(self, moment: Moment) -> None:
        order = self._order
        if order is not None and order.moment == moment and not self._has_slept:
            self._has_slept = True
            _stop()

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Of what is done within: where it fell asleep in there, nothing comes after that."""
        try:
            yield
        finally:
            if self._has_slept:
                self._has_slept = False
                self._path.unlink()
                _stop()


def _order_file(config: Path) -> Path:
    return config.with_name("sleep.json")


def _stop() -> None:
    """By a signal to this very thread, or it would go on for as long as another one takes to be stopped."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def _sleep_when_heard(sleeper: Sleeper) -> None:
    apply = intake._apply

    def applying(db: Database, batch: list[Heard], now_s: float) -> Any:
        with sleeper.to_the_end():
            if any(_is_of_trial(heard.message) for heard in batch):
                sleeper.fall("heard")
            return apply(db, batch, now_s)

    intake._apply = applying


def _is_of_trial(message: object) -> bool:
    return isinstance(message, Reported) and any(slot.phase not in AT_REST for slot in message.slots)


def _sleep_when_deciding(sleeper: Sleeper) -> None:
    decide, tick = carry_out.decide, rollouts.tick

    def deciding(*args: Any) -> list[Action]:
        actions = decide(*args)
        if any(isinstance(action, Promote) for action in actions):
            sleeper.fall("deciding")
        return actions

    def ticking(db: Database, *, now_s: float) -> tuple[str, ...]:
        with sleeper.to_the_end():
            return tick(db, now_s=now_s)

    carry_out.decide, rollouts.tick = deciding, ticking


def _lower_fence(sleeper: Sleeper) -> None:
    write, begin = LeaderDatabase.write, database._begin_postgresql

    @contextmanager
    def writing(db: LeaderDatabase) -> Iterator[Session]:
        with Database.write(db) if sleeper.lacks("term") else write(db) as session:
            yield session

    def beginning(connection: Connection) -> None:
        if database._is_reading(connection) or not sleeper.lacks("order"):
            begin(connection)
        if sleeper.lacks("limit"):
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    LeaderDatabase.write, database._begin_postgresql = writing, beginning  # type: ignore[method-assign, assignment]


def main(path: Path) -> None:
    sleeper = Sleeper(_order_file(path))
    for prepare in (_sleep_when_heard, _sleep_when_deciding, _lower_fence):
        prepare(sleeper)
    controller_process.main(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
