"""The API's resources as a client uses them: made, seen, and told about; each order may be said twice."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.controller_values import make_manifest, make_plan
from tests.support.depot import FLEET, Depot
from tests.support.http_desk import FLEET as FLEET_NAME
from tests.support.http_desk import HttpDesk, serving
from tests.support.shelf import Shelf
from wherry.protocol import topics
from wherry.protocol.blob import sha256

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    """Four boards; no model yet."""
    with serving(tmp_path) as desk:
        depot = Depot(tmp_path / "controller.db")
        for device in FLEET:
            depot.device(device)
        depot.db.close()
        yield desk


def _register(desk: HttpDesk, salt: str) -> None:
    for what in ("artifact", "golden"):
        data = f"{what} {salt} int8".encode()
        desk.client.put(f"/artifacts/{sha256(data)}", content=data).raise_for_status()
    body = msgspec.json.encode({"manifest": make_manifest(salt), "report": {"passes": True}, "notes": "n"})
    desk.client.post("/models/digits/versions", content=body).raise_for_status()


def _start(desk: HttpDesk, version: int = 1, **more: object) -> dict[str, object]:
    answer = desk.client.post("/rollouts", content=msgspec.json.encode({"plan": make_plan(version), **more}))
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/rollouts/{answer.json()['id']}"
    return dict(answer.json())


def test_a_version_is_numbered_once_and_found_by_number_and_as_the_newest(desk: HttpDesk) -> None:
    _register(desk, "a")
    _register(desk, "b")
    body = msgspec.json.encode({"manifest": make_manifest("b")})
    again = desk.client.post("/models/digits/versions", content=body)
    assert (again.status_code, again.headers["location"]) == (200, "/api/v1/models/digits/versions/2")
    newest, second = (desk.client.get(f"/models/digits{path}").json() for path in ("", "/versions/2"))
    assert newest == second
    assert (newest["name"], newest["report"], newest["notes"]) == ("digits:2", {"passes": True}, "n")
    kept = desk.client.get(f"/artifacts/{newest['manifest_ref']['digest']}").json()
    assert kept == newest["manifest"], "the numbered manifest can be fetched"
    assert [model["versions"] for model in desk.client.get("/models").json()] == [[1, 2]]


def test_a_rollout_is_explained_begun_paused_resumed_and_aborted(desk: HttpDesk) -> None:
    _register(desk, "a")
    explained = desk.client.post("/rollouts/explain", content=msgspec.json.encode({"plan": make_plan(1)}))
    assert "pi-1" in explained.json()["text"]
    assert desk.client.get("/rollouts").json() == [], "nothing was begun"
    assert _start(desk)["state"] == "running"
    for order, state in (("pause", "paused"), ("resume", "running")):
        told = [desk.client.post(f"/rollouts/1/{order}").json()["state"] for _ in range(2)]
        assert told == [state, state]
    for _ in range(2):
        assert desk.client.post("/rollouts/1/abort", content=b"{}").json()["state"] == "aborted"
    assert desk.client.get("/rollouts/1").json()["live"] is False
    assert [row["id"] for row in desk.client.get("/rollouts").json()] == [1]
    refused = desk.client.post("/rollouts/1/resume")
    assert (refused.status_code, refused.json()["fix"]) == (409, "start another one")


def test_a_rollout_may_begin_paused(desk: HttpDesk) -> None:
    _register(desk, "a")
    rollout = _start(desk, paused=True)
    assert (rollout["state"], rollout["counts"]) == ("paused", {"waiting": 4})


def test_a_rollback_is_watched_as_a_rollout(desk: HttpDesk) -> None:
    for salt in "ab":
        _register(desk, salt)
    _start(desk, 2)
    body = msgspec.json.encode({"model": "digits", "version": 1})
    first, second = (desk.client.post("/rollbacks", content=body) for _ in range(2))
    assert (first.status_code, first.headers["location"]) == (201, "/api/v1/rollouts/2")
    assert first.json()["kind"] == "rollback"
    assert second.json()["id"] == 2, "the same again is the same"
    assert desk.client.get("/rollouts/1").json()["reason"] == "superseded by a rollback"


def test_devices_are_listed_and_described(desk: HttpDesk) -> None:
    listed = desk.client.get("/devices").json()
    assert [device["id"] for device in listed] == list(FLEET)
    detail = desk.client.get("/devices/pi-1").json()
    assert detail["device"] == listed[0]
    assert desk.client.get("/devices/pi-1/events").json() == []


def test_devices_are_listed_by_a_query(desk: HttpDesk) -> None:
    def listed(where: str) -> list[str]:
        return [device["id"] for device in desk.client.get("/devices", params={"where": where}).json()]

    assert listed("all") == list(FLEET)
    assert listed("pi-2,pi-3") == ["pi-2", "pi-3"]
    assert listed("device in (pi-1, pi-3) and ram_mb>1") == ["pi-1", "pi-3"]
    assert listed("runtime.litert>99") == []
    refused = desk.client.get("/devices", params={"where": "ram_mb>=big"})
    assert (refused.status_code, "column 9" in refused.json()["detail"]) == (422, True)


def test_a_device_is_removed_with_what_the_broker_keeps_of_it(tmp_path: Path) -> None:
    shelf = Shelf(FLEET_NAME)
    kept = [topics.up(FLEET_NAME, "pi-1", kind) for kind in ("status", "birth", "reported")]
    kept.append(topics.down(FLEET_NAME, "pi-1", "desired"))
    others = topics.up(FLEET_NAME, "pi-2", "status")
    shelf.retained = dict.fromkeys([*kept, others], b"{}")
    with serving(tmp_path, shelf=shelf) as desk:
        depot = Depot(tmp_path / "controller.db")
        depot.device("pi-1")
        depot.device("pi-2")
        for _ in range(2):
            assert desk.client.delete("/devices/pi-1").json() == {"device": "pi-1", "removed": True}
        assert list(shelf.retained) == [others]
        assert [device["id"] for device in desk.client.get("/devices").json()] == ["pi-2"]
        assert [row["action"] for row in desk.client.get("/audit").json()] == ["device-removed"]
        depot.device("pi-1")
        depot.db.close()
        assert desk.client.get("/devices/pi-1").status_code == 200, "who speaks again is known again"


def test_a_removal_that_the_broker_did_not_take_is_to_be_repeated(desk: HttpDesk) -> None:
    assert desk.client.delete("/devices/pi-1").status_code == 503


def test_the_audit_tells_who_did_what(desk: HttpDesk) -> None:
    _register(desk, "a")
    _start(desk)
    rows = desk.client.get("/audit", params={"max_rows": 2}).json()
    assert [(row["action"], row["actor"]) for row in rows] == [
        ("rollout-started", "operator"),
        ("version-created", "operator"),
    ]


def test_status_says_that_there_is_no_broker(desk: HttpDesk) -> None:
    status = desk.client.get("/status").json()
    assert (status["ok"], status["devices"], status["online"]) == (False, 4, 4)
    assert status["broker"]["connected"] is False


def test_the_schema_lists_every_route_without_a_warning(desk: HttpDesk) -> None:
    paths = desk.client.get("/openapi.json").json()["paths"]
    assert "/api/v1/artifacts/{digest}" in paths
