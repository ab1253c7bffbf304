"""A rollout as server-sent events: told whenever it stands otherwise, to the end; nothing stays of who has gone."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from tests.support import http_desk
from tests.support.controller_values import make_plan
from tests.support.depot import FLEET, Depot
from tests.support.http_desk import HttpDesk, serving
from tests.support.wait import wait_until
from wherry.controller.http import stream
from wherry.controller.http.app import make_app
from wherry.controller.http.stream import Watches
from wherry.controller.ledger import Ledger
from wherry.controller.operations import rollouts
from wherry.controller.store.database import Database

pytestmark = pytest.mark.slow

TIMEOUT_S = 30.0


class Watcher:
    """The events of a stream, one after another, as (id, data)."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                assert fields["event"] == "rollout"
                yield fields["id"], msgspec.json.decode(fields["data"])
                fields = {}

    def line(self) -> str:
        """The next that is not empty."""
        return next(filter(None, self._lines))

    def next(self) -> tuple[str, dict[str, Any]]:
        return next(iter(self))


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> list[FastAPI]:
    """What was served, to look at what it still holds."""
    made: list[FastAPI] = []

    def keep(desk: Any) -> FastAPI:
        made.append(make_app(desk))
        return made[-1]

    monkeypatch.setattr(http_desk, "make_app", keep)
    return made


@pytest.fixture
def desk(tmp_path: Path, apps: list[FastAPI]) -> Iterator[HttpDesk]:
    with _desk(tmp_path) as desk:
        yield desk
    assert apps[0].state.watches.looks == {}


@contextmanager
def _desk(data_dir: Path) -> Iterator[HttpDesk]:
    """A rollout to four boards, that goes on."""
    with serving(data_dir) as desk:
        _start(Depot.of(desk.db, time.time()))
        yield desk


def _start(depot: Depot) -> None:
    depot.version("a")
    for device in FLEET:
        depot.device(device)
    rollouts.start(depot.db, make_plan(1), now_s=depot.now_s, actor="ann")


@contextmanager
def _watching(desk: HttpDesk, seen: str | None = None, rollout: int = 1) -> Iterator[Watcher]:
    headers = {} if seen is None else {"Last-Event-ID": seen}
    with (
        httpx.Client(base_url=desk.client.base_url, timeout=TIMEOUT_S) as client,
        client.stream("GET", f"/rollouts/{rollout}/watch", headers=headers) as answer,
    ):
        yield Watcher(answer)


def _order(desk: HttpDesk, order: str) -> dict[str, Any]:
    answer = desk.client.post(f"/rollouts/1/{order}", content=b"{}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_it_is_told_as_it_stands_at_each_change_and_to_its_end(desk: HttpDesk) -> None:
    with _watching(desk) as watcher:
        assert watcher.answer.headers["content-type"].startswith("text/event-stream")
        assert watcher.next()[1] == desk.client.get("/rollouts/1").json()
        for order, state in (("pause", "paused"), ("resume", "running")):
            _order(desk, order)
            assert watcher.next()[1]["state"] == state
        _order(desk, "abort")
        assert [told["state"] for _, told in watcher] == ["aborted"], "and nothing more"


def test_who_comes_back_is_told_nothing_twice(desk: HttpDesk) -> None:
    with _watching(desk) as watcher:
        seen, _ = watcher.next()
    with _watching(desk, seen) as watcher:
        _order(desk, "pause")
        newer, told = watcher.next()
        assert (told["state"], newer != seen) == ("paused", True)
    with _watching(desk, seen) as watcher:
        assert watcher.next()[0] == newer, "what came meanwhile is told at once"
    _order(desk, "abort")
    with _watching(desk, newer) as watcher:
        ((last, told),) = list(watcher)
        assert told["state"] == "aborted"
    with _watching(desk, last) as watcher:
        assert (watcher.answer.status_code, watcher.answer.read()) == (204, b"")


def test_there_is_no_stream_of_what_is_not_there(desk: HttpDesk) -> None:
    with _watching(desk, rollout=9) as watcher:
        assert watcher.answer.status_code == 404
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "MAX_STREAMS", 0)
        with _watching(desk) as watcher:
            assert watcher.answer.status_code == 503


def test_nothing_stays_of_who_has_gone(desk: HttpDesk, apps: list[FastAPI]) -> None:
    watches: Watches = apps[0].state.watches
    with _watching(desk) as first, _watching(desk) as second:
        first.next()
        second.next()
        assert (watches.streams, len(watches.looks)) == (2, 1)
    wait_until(lambda: not watches.looks, "both streams are forgotten")


def test_a_stream_on_which_nothing_happens_is_kept_alive(desk: HttpDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    with _watching(desk) as watcher:
        watcher.next()
        assert watcher.line().startswith(": ping")


@contextmanager
def _stopping_while_watched(data_dir: Path) -> Iterator[tuple[threading.Thread, Watcher]]:
    """The controller is told to stop while a client watches; the thread is that of the stop."""
    opened = _desk(data_dir)
    desk = opened.__enter__()
    stop = threading.Thread(target=lambda: opened.__exit__(None, None, None))
    with _watching(desk) as watcher:
        watcher.next()
        stop.start()
        yield stop, watcher
    stop.join(TIMEOUT_S)
    assert not stop.is_alive()


def test_stopping_the_controller_ends_its_streams(tmp_path: Path) -> None:
    with _stopping_while_watched(tmp_path) as (stop, watcher):
        assert list(watcher) == []
        stop.join(TIMEOUT_S)
        assert not stop.is_alive(), "although the client still holds its connection"


def test_negative_control_a_stream_that_is_not_ended_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apps: list[FastAPI]
) -> None:
    asked = threading.Event()
    monkeypatch.setattr(Watches, "close", lambda _watches: asked.set())
    with _stopping_while_watched(tmp_path) as (stop, _watcher):
        assert asked.wait(TIMEOUT_S)
        assert apps[0].state.watches.streams == 1
        assert stop.is_alive()


class Counted:
    """A ledger that counts what it is asked."""

    def __init__(self, db: Database) -> None:
        self.ledger = Ledger(db)
        self.asked = 0

    async def run(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return await self.ledger.run(*args, **kwargs)


def test_a_hundred_who_watch_share_one_look(depot: Depot) -> None:
    _start(depot)
    counted = Counted(depot.db)

    async def scene() -> None:
        watches = Watches(every_s=3600.0)
        streams = [watches.watch(counted, 1, None) for _ in range(100)]  # type: ignore[arg-type]
        told = await asyncio.gather(*(anext(entry) for entry in streams))
        assert (len({event.id for event in told}), watches.streams, counted.asked) == (1, 100, 1)
        for entry in streams:
            await entry.aclose()
        assert watches.looks == {}

    asyncio.run(scene())


def test_a_stream_ends_after_a_time_so_that_who_may_no_longer_watch_is_found_out(depot: Depot) -> None:
    _start(depot)

    async def scene() -> None:
        watches = Watches(max_stream_s=0.05)
        told = [event async for event in watches.watch(Ledger(depot.db), 1, None)]
        assert (len(told) <= 1, watches.looks) == (True, {})

    asyncio.run(scene())


def test_a_look_that_fails_ends_the_streams_and_the_next_is_a_new_one(depot: Depot) -> None:
    async def scene() -> None:
        watches, ledger = Watches(every_s=0.01), Ledger(depot.db)
        assert [event async for event in watches.watch(ledger, 1, None)] == []
        _start(depot)
        found = watches.watch(ledger, 1, None)
        assert (await anext(found)).event == "rollout"
        await found.aclose()

    asyncio.run(scene())
