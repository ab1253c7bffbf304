"""No operation of the API answers 5xx to any input: each is called with what its schema admits and what it does not, by
every role and by nobody, on SQLite and on PostgreSQL. What was accepted, the engine and the lists can live with.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.conftest import Tried
from tests.support import http_desk
from tests.support.api_storm import Storm
from tests.support.controller_values import TFLITE
from tests.support.depot import Depot
from tests.support.http_desk import FLEET, HttpDesk, serving
from tests.support.shelf import Shelf
from tests.support.soak import scaled
from wherry.controller.core.roles import LEAST_ROLE, ROLES
from wherry.controller.http.app import PREFIX, make_app
from wherry.controller.http.openapi_answers import ANSWERS, Answer
from wherry.controller.operations import rollouts, tokens
from wherry.controller.operations.aliases import AliasView
from wherry.protocol.blob import describe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

BLOB = b"a blob that was uploaded"
NAMES = {
    "model": "digits", "version": 1, "alias": "stable", "device": "pi-1", "slot": "main", "rollout": 1, "wave": 2,
    "conversion": 1, "digest": describe(BLOB).digest, "target": {"devices": ["pi-3", "pi-4"]},
    "gate": "failures", "name": "hall", "action_id": "a1",
}  # fmt: skip
DAY_S = 86_400.0


@contextmanager
def _busy_desk(data_dir: Path, **config: Any) -> Iterator[tuple[HttpDesk, Storm]]:
    """Four boards, two versions, an alias, a group, a rollout, a blob; and a token of each role."""
    with serving(data_dir, shelf=Shelf(FLEET), **config) as desk:
        depot = Depot.of(desk.db, time.time())
        for salt in "ab":
            depot.version(salt)
        for device in ("pi-1", "pi-2", "pi-3", "pi-4"):
            depot.device(device, TFLITE, labels={"site": "hall"})
        client = desk.client
        client.put(f"/artifacts/{NAMES['digest']}", content=BLOB).raise_for_status()
        client.put("/models/digits/aliases/stable", json={"version": 1}).raise_for_status()
        client.put("/groups/hall", json={"query": "site=hall"}).raise_for_status()
        plan = {"model": "digits", "version": 1, "target": {"devices": ["pi-1"]}}
        client.post("/rollouts", json={"plan": plan}).raise_for_status()
        order = {"model": "digits", "source": {"digest": NAMES["digest"], "file_name": "a.keras"}}
        client.post(
            "/conversions", json=order | {"calibration": {"digest": NAMES["digest"], "file_name": "b.npz"}}
        ).raise_for_status()
        yield desk, Storm(desk, _callers(desk), NAMES)


def _callers(desk: HttpDesk) -> dict[str, dict[str, str]]:
    callers: dict[str, dict[str, str]] = {"nobody": {}}
    for role in ROLES:
        made = tokens.create(
            desk.db, f"a-{role}", role, expires_s=None, now_s=0.0, actor="ann", random_hex=secrets.token_hex
        )
        callers[role] = {"Authorization": f"Bearer {made.token}"}
    return callers


def _told(storm: Storm, database: str) -> str:
    counts = ", ".join(f"{status}: {n}" for status, n in sorted(storm.statuses.items()))
    tries = f"{storm.calls} calls of {len(storm.operations)} operations by {len(storm.callers)} callers"
    return f"{tries} on {database}, {len(storm.succeeded)} of them with success; {counts}"


def _check_life_goes_on(desk: HttpDesk, storm: Storm) -> None:
    for days in range(4):
        rollouts.tick(desk.db, now_s=time.time() + days * DAY_S)
    for method, template in LEAST_ROLE:
        if method == "GET" and "{" not in template:
            answer = desk.client.get(template, headers=storm.callers["admin"])
            assert answer.status_code == 200, f"{template}: {answer.text}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    if request.param == "sqlite":
        return "SQLite", {}
    new: Callable[[], str] = request.getfixturevalue("new_migrated_database")
    return "PostgreSQL", {"database": new()}


def test_no_operation_answers_5xx_to_any_caller(
    tmp_path: Path, database: tuple[str, dict[str, str]], tried: Tried
) -> None:
    name, config = database
    with _busy_desk(tmp_path, **config) as (desk, storm):
        storm.blow(scaled(2 if name == "SQLite" else 0, soak=400))
        tried(_told(storm, name))
        assert storm.failed == [], "\n".join(storm.failed[:10])
        assert storm.undocumented == [], "\n".join(storm.undocumented[:10])
        assert len(storm.operations) == sum(method != "HEAD" for method, _ in LEAST_ROLE)
        _check_life_goes_on(desk, storm)


def _with_a_broken_route(desk: Any) -> FastAPI:
    app = make_app(desk)

    @app.get(f"{PREFIX}/broken")
    async def broken(amount: int) -> float:
        return 1 / (amount if abs(amount) < 2**40 else 0)

    return app


def test_negative_control_a_route_that_breaks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    monkeypatch.setattr(http_desk, "make_app", _with_a_broken_route)
    monkeypatch.setitem(LEAST_ROLE, ("GET", "/broken"), "viewer")
    with _busy_desk(tmp_path) as (_desk, storm):
        storm.blow(2, only="/broken")
        tried(_told(storm, "SQLite"))
        assert storm.failed
        assert all("/broken" in line and "500" in line for line in storm.failed)


def test_negative_control_an_answer_that_is_not_as_documented_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, ("GET", "/pins"), Answer(AliasView))
    with _busy_desk(tmp_path) as (_desk, storm):
        storm.blow(0, only="/pins")
        assert len(storm.undocumented) == len(ROLES)
        assert all("/pins 200" in line for line in storm.undocumented)
