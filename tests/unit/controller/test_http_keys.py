"""`Idempotency-Key` of an action: the same key is the same order, another order under it is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.depot import Depot
from tests.support.http_desk import FLEET, HttpDesk, serving
from tests.support.shelf import Shelf
from wherry.controller.errors import Conflict
from wherry.controller.operations import actions
from wherry.protocol.down.action import Action

pytestmark = pytest.mark.slow

PING = {"kind": "collect-logs", "valid_s": 60.0}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with serving(tmp_path, shelf=Shelf(FLEET)) as desk:
        depot = Depot.of(desk.db, 1000.0)
        for device in ("pi-1", "pi-2"):
            depot.device(device)
        yield desk


def _send(desk: HttpDesk, key: str | None, device: str = "pi-1", **changed: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return desk.client.post(f"/devices/{device}/actions", content=msgspec.json.encode(PING | changed), headers=headers)


def test_the_same_key_is_the_same_order(desk: HttpDesk) -> None:
    first, again = _send(desk, "night-1"), _send(desk, "night-1")
    assert (first.status_code, again.status_code) == (202, 202), first.text
    assert first.json() == again.json()
    others = _send(desk, "night-2"), _send(desk, "night-1", "pi-2"), _send(desk, None), _send(desk, None)
    assert len({answer.json()["id"] for answer in (first, *others)}) == 5
    assert len(desk.client.get("/devices/pi-1/actions").json()) == 4
    sent = [row for row in desk.client.get("/audit").json() if row["action"] == "action-sent"]
    assert len(sent) == 5, "what was said again is told once"


def test_another_order_under_the_key_is_refused(desk: HttpDesk) -> None:
    _send(desk, "night-1")
    for changed in ({"valid_s": 61.0}, {"slot": "main"}, {"kind": "restart-slot", "slot": "main"}):
        refused = _send(desk, "night-1", **changed)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:wherry:problem:conflict")
    assert len(desk.client.get("/devices/pi-1/actions").json()) == 1


def test_a_key_alone_does_not_tell_the_id(fleet: Depot) -> None:
    """On either database. The secret is made once: what a second controller would make is not taken."""
    ids = [actions.id_of_key(fleet.db, "pi-1", "night-1", fresh_secret=secret) for secret in ("a", "b")]
    assert ids[0] == ids[1]
    with fleet.db.write() as session:
        session.get_one(actions.MetaRow, actions.IDS_ROW).value = "another database's"
    assert actions.id_of_key(fleet.db, "pi-1", "night-1", fresh_secret="") not in ids
    assert actions.id_of_key(fleet.db, "pi-2", "night-1", fresh_secret="") not in ids


def test_an_order_said_again_later_is_as_long_valid_as_it_was(fleet: Depot) -> None:
    def order(now_s: float, valid_s: float) -> Action:
        action = Action(id="0" * 16, kind="collect-logs", not_after_s=now_s + valid_s)
        return actions.record_action(fleet.db, "pi-1", action, now_s=now_s, actor="ann")

    assert order(1000.0, 60.0) == order(1050.0, 60.0)
    with pytest.raises(Conflict):
        order(1050.0, 10.0)
