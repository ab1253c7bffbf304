"""What an operator does with rollouts, as a client of the API: every order may be said twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.controller_values import make_plan
from tests.support.depot import FLEET, Depot
from tests.support.http_desk import HttpDesk, serving
from wherry.controller.core.plan import Target

pytestmark = pytest.mark.slow

REASON = "the sensor is known to be off"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    """Four boards and two versions."""
    with serving(tmp_path) as desk:
        depot = Depot(tmp_path / "controller.db")
        for salt in "ab":
            depot.version(salt)
        for device in FLEET:
            depot.device(device)
        depot.db.close()
        yield desk


def post(desk: HttpDesk, path: str, body: object, key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return desk.client.post(path, content=msgspec.json.encode(body), headers=headers)


def start(desk: HttpDesk, version: int | None = 1, key: str | None = None, **more: Any) -> httpx.Response:
    plan = msgspec.to_builtins(make_plan(1, target=Target(devices=FLEET), **more))
    plan.pop("version")
    if version is not None:
        plan["version"] = version
    return post(desk, "/rollouts", {"plan": plan}, key)


def test_a_key_makes_the_second_request_the_first(desk: HttpDesk) -> None:
    first, second = (start(desk, key="deploy 17") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.headers["location"] == second.headers["location"] == "/api/v1/rollouts/1"
    assert (second.json()["id"], second.json()["key"]) == (1, "deploy 17")
    other = start(desk, 2, key="deploy 17")
    assert (other.status_code, "another request" in other.json()["detail"]) == (409, True)


@pytest.mark.parametrize("key", ["", "a\tb", "é".encode().decode("latin-1"), "k" * 201])
def test_a_key_is_of_printable_characters(desk: HttpDesk, key: str) -> None:
    body = msgspec.json.encode({"plan": make_plan(1)})
    answer = desk.client.post("/rollouts", content=body, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert (answer.status_code, "Idempotency-Key" in answer.json()["detail"]) == (422, True)
    assert desk.client.get("/rollouts").json() == []


def test_a_rollback_has_a_key_too(desk: HttpDesk) -> None:
    start(desk)
    body = {"model": "digits", "version": 2, "pinned": True}
    first, second = (post(desk, "/rollbacks", body, "b") for _ in range(2))
    assert (first.status_code, second.status_code, second.json()["id"]) == (201, 200, 2)


def test_a_version_is_a_number_or_the_newest(desk: HttpDesk) -> None:
    assert start(desk, None).json()["plan"]["version"] == 2
    both = {"plan": {"model": "digits", "version": 1, "alias": "stable"}}
    answer = post(desk, "/rollouts/explain", both)
    assert (answer.status_code, answer.json()["fix"]) == (422, "name one, or none for the newest")


def test_a_wave_is_opened_by_hand(desk: HttpDesk) -> None:
    start(desk)
    told = [post(desk, "/rollouts/1/promote", {"wave": 2, "reason": "late"}).json()["wave"] for _ in range(2)]
    assert told == [2, 2]
    assert post(desk, "/rollouts/1/promote", {"wave": 9}).status_code == 409
    assert post(desk, "/rollouts/1/promote", {"wave": 0}).status_code == 422


def test_a_rollout_is_held_and_sent_again(desk: HttpDesk) -> None:
    start(desk)
    assert [post(desk, "/rollouts/1/hold", {"reason": "lunch"}).json()["state"] for _ in range(2)] == ["held", "held"]
    again = post(desk, "/rollouts/1/retry", {}).json()
    assert (again["again"], again["left"], again["rollout"]["state"]) == (["pi-1"], {}, "running")
    assert post(desk, "/rollouts/1/retry", {}).json()["again"] == []


def test_a_gate_is_overruled_and_judges_again(desk: HttpDesk) -> None:
    start(desk)
    path = "/rollouts/1/overrides/inferences"
    for _ in range(2):
        view = desk.client.put(path, content=msgspec.json.encode({"reason": REASON})).json()
    assert [(entry["gate"], entry["reason"]) for entry in view["overrides"]] == [("inferences", REASON)]
    assert [desk.client.delete(path).json()["overrides"] for _ in range(2)] == [[], []]
    assert desk.client.put(path, content=b'{"reason": "short"}').status_code == 422
    unknown = desk.client.put("/rollouts/1/overrides/luck", content=msgspec.json.encode({"reason": REASON}))
    assert (unknown.status_code, "failures, crashes" in unknown.json()["fix"]) == (422, True)


def test_an_overlapping_one_is_queued_where_its_plan_says_so(desk: HttpDesk) -> None:
    start(desk)
    queued = start(desk, 2, on_overlap="queue")
    assert (queued.status_code, queued.json()["state"], queued.json()["waits_for"]) == (201, "queued", 1)
    assert start(desk, 2).status_code == 409
    assert post(desk, "/rollouts/2/abort", {"reason": "not today"}).json()["reason"] == "aborted by operator: not today"


def test_a_slot_is_pinned_listed_and_let_go(desk: HttpDesk) -> None:
    body = msgspec.json.encode({"reason": REASON})
    for _ in range(2):
        assert desk.client.put("/devices/pi-1/pins/main", content=body).json()["reason"] == REASON
    (pinned,) = desk.client.get("/pins").json()
    assert (pinned["device"], pinned["slot"], pinned["pinned_by"]) == ("pi-1", "main", "operator")
    assert start(desk).json()["devices"][0]["reason"] == f"pinned by operator: {REASON}"
    told = [desk.client.delete("/devices/pi-1/pins/main").json()["was_pinned"] for _ in range(2)]
    assert (told, desk.client.get("/pins").json()) == ([True, False], [])


@pytest.mark.parametrize(
    ("path", "status"),
    [("/devices/pi-9/pins/main", 404), ("/devices/PI/pins/main", 422), ("/devices/pi-1/pins/%00", 404)],
)
def test_a_pin_is_of_a_device_and_a_slot(desk: HttpDesk, path: str, status: int) -> None:
    assert desk.client.put(path, content=msgspec.json.encode({"reason": REASON})).status_code == status
    assert desk.client.delete(path).status_code == status
