"""Tags: what is known is not sent again, and an order that was meant for another state is not carried out."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.conftest import Tried
from tests.support.controller_values import make_plan
from tests.support.depot import FLEET, Depot
from tests.support.http_desk import HttpDesk, serving
from wherry.controller.errors import Changed
from wherry.controller.http import etags
from wherry.controller.operations import revisions, rollouts
from wherry.controller.operations.revisions import guarded, of_rollout

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    """Four boards, two versions, an alias, a group, a pin, and a rollout."""
    with serving(tmp_path) as desk:
        depot = Depot.of(desk.db, time.time())
        for salt in "ab":
            depot.version(salt)
        for device in FLEET:
            depot.device(device)
        _put(desk, "/models/digits/aliases/stable", {"version": 1})
        _put(desk, "/groups/hall", {"query": "ram_mb>1"})
        _put(desk, "/devices/pi-4/pins/main", {"reason": "it is on the bench"})
        body = msgspec.json.encode({"plan": make_plan(1)})
        desk.client.post("/rollouts", content=body).raise_for_status()
        yield desk


def _put(desk: HttpDesk, path: str, body: object, method: str = "PUT", tag: str | None = None) -> httpx.Response:
    headers = {} if tag is None else {"If-Match": tag}
    return desk.client.request(method, path, content=msgspec.json.encode(body), headers=headers)


def _tag(desk: HttpDesk, path: str) -> str:
    answer = desk.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


TAGGED = (
    "/rollouts/1",
    "/models/digits",
    "/models/digits/versions/1",
    "/models/digits/versions/stable",
    "/models/digits/aliases/stable",
    "/groups/hall",
    "/devices/pi-4/pins/main",
)

ORDERS: dict[str, list[tuple[str, str, Any]]] = {
    "/rollouts/1": [
        ("POST", "/pause", {}),
        ("POST", "/resume", {}),
        ("PUT", "/overrides/failures", {"reason": "the cable was out"}),
        ("DELETE", "/overrides/failures", {}),
        ("POST", "/hold", {}),
        ("POST", "/retry", {}),
        ("POST", "/abort", {}),
    ],
    "/models/digits/versions/2": [
        ("PATCH", "", {"notes": "slower"}),
        ("PUT", "/retirement", {"retired": True}),
        ("PUT", "/retirement", {"retired": False}),
        ("DELETE", "", None),
    ],
    "/models/digits/aliases/stable": [("PUT", "", {"version": 2}), ("DELETE", "", None)],
    "/groups/hall": [("PUT", "", {"query": "ram_mb>2"}), ("DELETE", "", None)],
    "/devices/pi-4/pins/main": [("PUT", "", {"reason": "another"}), ("DELETE", "", None)],
}
"""The orders that change a resource, each of which can be given after those before it."""


def test_what_is_known_is_not_sent_again(desk: HttpDesk) -> None:
    for path in TAGGED:
        tag = _tag(desk, path)
        for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            again = desk.client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert desk.client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_report_of_a_device_is_news_and_refuses_no_order(desk: HttpDesk) -> None:
    tag = _tag(desk, "/rollouts/1")
    depot = Depot.of(desk.db, time.time())
    depot.trying("pi-1", "probation")
    rollouts.tick(desk.db, now_s=time.time())
    assert desk.client.get("/rollouts/1", headers={"If-None-Match": tag}).status_code == 200
    assert _put(desk, "/rollouts/1/pause", {}, "POST", tag).json()["state"] == "paused"


@pytest.mark.parametrize("path", ORDERS)
def test_each_order_is_taken_once_by_the_tag_that_was_seen(desk: HttpDesk, path: str) -> None:
    for method, way, body in ORDERS[path]:
        stale = ('"0123456789abcdef.0"', f"W/{_tag(desk, path)}", '"x", "y"')
        for tag in stale:
            refused = _put(desk, path + way, body, method, tag)
            assert (refused.status_code, refused.json()["type"]) == (412, "urn:wherry:problem:changed")
        told = refused.headers["etag"]
        seen = _tag(desk, path)
        assert seen.startswith(told[:-1] + "."), "the problem tells the revision that would have been right"
        taken = _put(desk, path + way, body, method, f'"old", {seen}')
        assert taken.status_code in (200, 201), taken.text
        if way != "/retry":  # nobody failed, so nothing was changed
            assert _put(desk, path + way, body, method, seen).status_code in (404, 412), "it is another one now"


def test_a_star_means_whatever_is_there(desk: HttpDesk) -> None:
    assert _put(desk, "/groups/hall", {"query": "ram_mb>3"}, tag="*").status_code == 200
    refused = _put(desk, "/groups/new", {"query": "ram_mb>3"}, tag="*")
    assert (refused.status_code, "etag" in refused.headers) == (412, False)
    assert desk.client.get("/groups/new").status_code == 404
    assert _put(desk, "/rollouts/9/pause", {}, "POST", "*").status_code == 404


def test_what_is_no_tag_is_told(desk: HttpDesk) -> None:
    for tag in ("x", '"x', "W/x", '"a" "b"', "*, *", "@" * 3000):
        asked = ("If-Match", "POST", "/rollouts/1/pause"), ("If-None-Match", "GET", "/rollouts/1")
        for header, method, path in asked:
            answer = desk.client.request(method, path, headers={header: tag})
            assert answer.status_code == 422, f"{header}: {tag[:20]}: {answer.text}"
    assert _put(desk, "/rollouts/1/pause", {}, "POST", "").status_code == 412, "none is no leave"
    assert desk.client.get("/rollouts/1").json()["state"] == "running"


def _race(desk: HttpDesk, rounds: int) -> int:
    """Two operators at a time move an alias that both have seen; how often both were told that they did."""
    both = 0
    for _ in range(rounds):
        tag = _tag(desk, "/models/digits/aliases/stable")
        number = desk.client.get("/models/digits/aliases/stable").json()["version"] % 2 + 1
        told: list[int] = []

        def move(number: int = number, tag: str = tag, told: list[int] = told) -> None:
            with httpx.Client(base_url=desk.client.base_url, timeout=20) as client:
                body = msgspec.json.encode({"version": number})
                answer = client.put("/models/digits/aliases/stable", content=body, headers={"If-Match": tag})
                told.append(answer.status_code)

        threads = [threading.Thread(target=move) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(told) <= {200, 412}
        both += told == [200, 200]
    return both


ROUNDS = 10


def test_of_two_who_saw_the_same_one_is_first(desk: HttpDesk, tried: Tried) -> None:
    assert _race(desk, ROUNDS) == 0
    tried(f"{ROUNDS} races of two operators")


def test_negative_control_without_the_comparison_both_are_taken(
    desk: HttpDesk, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    def unguarded(db: Any, _expected: Any, _revision: Any, operation: Callable[[Any], Any]) -> Any:
        return operation(db)

    monkeypatch.setattr(etags, "guarded", unguarded)
    assert _race(desk, 3) == 3
    tried("3 races of two operators")


def test_the_comparison_is_a_part_of_the_change(fleet: Depot) -> None:
    """On either database: what the order had done is undone where it fails, and nothing is done in another state."""
    plan = make_plan(1)
    rollout = rollouts.start(fleet.db, plan, now_s=1.0, actor="ann").id

    def revision(db: Any) -> str:
        return of_rollout(db, rollout)

    def pause(db: Any) -> Any:
        return rollouts.pause(db, rollout, now_s=2.0, actor="bob")

    seen = revision(fleet.db)
    with pytest.raises(Changed) as told:
        guarded(fleet.db, {"other"}, revision, pause)
    assert told.value.present == seen
    assert guarded(fleet.db, {seen}, revision, pause).state == "paused"
    assert rollouts.get_rollout(fleet.db, rollout).state == "paused"

    def fail(db: Any) -> None:
        rollouts.resume(db, rollout, now_s=3.0, actor="bob")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        guarded(fleet.db, {revision(fleet.db)}, revision, fail)
    assert rollouts.get_rollout(fleet.db, rollout).state == "paused"
    assert revisions.of_group(fleet.db, "none") is None
