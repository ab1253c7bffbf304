"""What devices collect for an order: only what was ordered, verified, bounded; over the API and the command line."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.depot import Depot
from tests.support.http_desk import FLEET, HttpDesk, serving
from tests.support.shelf import Shelf
from tests.support.wherry_command import wherry
from wherry.agent.adapters.http_upload import repr_digest
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import actions, ingest, uploads
from wherry.protocol import topics
from wherry.protocol.blob import sha256
from wherry.protocol.codec import decode_down
from wherry.protocol.down import Action
from wherry.protocol.errors import Malformed
from wherry.protocol.limits import MAX_UPLOAD_BYTES, UPLOAD_BLOCK_BYTES
from wherry.protocol.up import Event, Upload

pytestmark = pytest.mark.slow

DATA = bytes(range(256)) * 500
"""Three blocks."""


def order(depot: Depot, action_id: str = "a1", kind: str = "collect-logs", device: str = "pi-1") -> None:
    depot.now_s += 1
    action = Action(id=action_id, kind=kind, not_after_s=depot.now_s + 60)  # type: ignore[arg-type]
    actions.record_action(depot.db, device, action, now_s=depot.now_s, actor="ann")


def block(index: int, data: bytes = DATA, action_id: str = "a1", **fields: object) -> Upload:
    start = index * UPLOAD_BLOCK_BYTES
    right = Upload(
        action_id=action_id, index=index, count=-(-len(data) // UPLOAD_BLOCK_BYTES), size_bytes=len(data),
        digest=sha256(data), data=data[start : start + UPLOAD_BLOCK_BYTES],
    )  # fmt: skip
    return msgspec.structs.replace(right, **fields)


def take(depot: Depot, upload: Upload, device: str = "pi-1") -> bool:
    return uploads.take_block(depot.db, device, upload, now_s=depot.now_s)


def view(depot: Depot, action_id: str = "a1") -> actions.ActionView:
    return actions.get_action(depot.db, "pi-1", action_id, now_s=depot.now_s)


def test_blocks_in_any_order_and_twice_make_the_whole_once(fleet: Depot) -> None:
    order(fleet)
    assert [take(fleet, block(index)) for index in (2, 0, 0, 2)] == [True, True, False, False]
    upload = view(fleet).upload
    assert upload is not None
    assert (upload.complete, upload.blocks_here, upload.blocks) == (False, 2, 3)
    with pytest.raises(NotFound, match="nothing has come"):
        uploads.get_whole(fleet.db, "pi-1", "a1")
    assert take(fleet, block(1))
    assert not take(fleet, block(1))
    assert uploads.get_whole(fleet.db, "pi-1", "a1").data == DATA


@pytest.mark.parametrize(
    ("upload", "reason"),
    [
        (block(0, action_id="other"), "nobody ordered 'other'"),
        (block(0, action_id="restart"), "nobody ordered 'restart'"),
        (msgspec.structs.replace(block(2), index=1), "does not fit its whole"),
        (block(0, count=4), "does not fit its whole"),
        (block(0, size_bytes=10), "does not fit its whole"),
        (block(0, data=DATA[:-1] + b"x"), "brings something else"),
    ],
)
def test_what_was_not_ordered_or_does_not_fit_is_refused(fleet: Depot, upload: Upload, reason: str) -> None:
    order(fleet)
    order(fleet, "restart", "restart-slot")
    take(fleet, block(1))
    with pytest.raises(Malformed, match=reason):
        take(fleet, upload)


def test_what_was_ordered_of_another_device_is_refused(fleet: Depot) -> None:
    order(fleet)
    with pytest.raises(Malformed, match="nobody ordered"):
        take(fleet, block(0), device="pi-2")


def test_blocks_that_are_not_the_whole_are_forgotten_and_may_come_again(fleet: Depot) -> None:
    order(fleet)
    damaged = bytes([DATA[0] ^ 1]) + DATA[1:UPLOAD_BLOCK_BYTES]
    assert [take(fleet, upload) for upload in (block(0), block(1))] == [True, True]
    order(fleet, "a2")
    taken = [take(fleet, msgspec.structs.replace(block(0, action_id="a2"), data=damaged))]
    taken += [take(fleet, block(index, action_id="a2")) for index in (1, 2)]
    assert taken == [True, True, False]
    assert view(fleet, "a2").upload is None
    assert [take(fleet, block(index, action_id="a2")) for index in range(3)] == [True] * 3
    assert uploads.get_whole(fleet.db, "pi-1", "a2").data == DATA


def test_a_whole_over_http_replaces_blocks_and_must_have_its_digest(fleet: Depot) -> None:
    order(fleet)
    take(fleet, block(0))
    with pytest.raises(Invalid, match="does not have the digest"):
        uploads.take_whole(fleet.db, "pi-1", "a1", DATA, "0" * 64, now_s=1.0)
    assert uploads.take_whole(fleet.db, "pi-1", "a1", DATA, sha256(DATA), now_s=1.0)
    assert not uploads.take_whole(fleet.db, "pi-1", "a1", DATA, sha256(DATA), now_s=1.0)
    assert not take(fleet, block(1)), "the blocks that come still change nothing"
    with pytest.raises(Conflict, match="something else already"):
        uploads.take_whole(fleet.db, "pi-1", "a1", b"x", sha256(b"x"), now_s=1.0)


def test_orders_and_what_they_brought_are_bounded(fleet: Depot) -> None:
    for number in range(actions.MAX_UPLOADS + 3):
        order(fleet, f"a{number}")
        uploads.take_whole(fleet.db, "pi-1", f"a{number}", DATA, sha256(DATA), now_s=1.0)
    for number in range(actions.MAX_ACTIONS):
        order(fleet, f"r{number}", "restart-slot")
    kept = [found.action.id for found in actions.list_actions(fleet.db, "pi-1", now_s=fleet.now_s)]
    assert len(kept) == actions.MAX_ACTIONS
    assert kept[0] == f"r{actions.MAX_ACTIONS - 1}"


def test_of_many_collections_the_newest_are_kept(fleet: Depot) -> None:
    for number in range(actions.MAX_UPLOADS + 3):
        order(fleet, f"a{number}")
        take(fleet, block(0, action_id=f"a{number}"))
    kept = [found.action.id for found in actions.list_actions(fleet.db, "pi-1", now_s=fleet.now_s)]
    assert kept == [f"a{number}" for number in range(actions.MAX_UPLOADS + 2, 2, -1)]


def test_an_order_is_waiting_then_late_then_as_its_answer_says(fleet: Depot) -> None:
    order(fleet)
    assert view(fleet).state == "waiting"
    fleet.now_s += 100
    assert view(fleet).state == "late"
    event = Event(boot_id="b", seq=1, at_s=1.0, kind="action-refused", action_id="a1", reason="serves nothing")
    ingest.apply_event(fleet.db, "pi-1", event, now_s=fleet.now_s)
    assert (view(fleet).state, view(fleet).reason) == ("refused", "serves nothing")


class Postbox(Shelf):
    """Takes orders, and lets a test play the device that gets them."""

    def __init__(self) -> None:
        super().__init__(FLEET)
        self.orders: list[Action] = []
        self.on_order = self.orders.append

    async def publish_action(self, device: str, action: Action) -> None:
        assert topics.down(FLEET, device, "action")
        self.on_order(action)


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def desk(tmp_path: Path, postbox: Postbox) -> Iterator[HttpDesk]:
    with serving(tmp_path, shelf=postbox) as desk:
        depot = Depot(tmp_path / "controller.db")
        depot.device("pi-1")
        depot.db.close()
        yield desk


def url(desk: HttpDesk) -> str:
    return f"http://127.0.0.1:{desk.port}"


def test_logs_are_ordered_put_and_fetched_over_the_api(desk: HttpDesk, postbox: Postbox) -> None:
    sent = desk.client.post("/devices/pi-1/actions", json={"kind": "collect-logs"})
    (action,) = postbox.orders
    assert sent.json()["id"] == action.id
    assert action.upload_url == f"{url(desk)}/api/v1/devices/pi-1/logs/{action.id}"
    assert desk.client.get(action.upload_url).status_code == 404
    assert desk.client.put(action.upload_url, content=DATA).status_code == 422, "without a digest"
    wrong = {"Repr-Digest": repr_digest("0" * 64)}
    assert desk.client.put(action.upload_url, content=DATA, headers=wrong).status_code == 422
    right = {"Repr-Digest": repr_digest(sha256(DATA))}
    statuses = [desk.client.put(action.upload_url, content=DATA, headers=right).status_code for _ in range(2)]
    assert statuses == [201, 200]
    got = desk.client.get(action.upload_url)
    assert (got.content, got.headers["repr-digest"]) == (DATA, right["Repr-Digest"])
    assert desk.client.get(f"/devices/pi-1/actions/{action.id}").json()["upload"]["complete"] is True


def test_more_than_may_be_sent_up_is_refused(desk: HttpDesk, postbox: Postbox) -> None:
    desk.client.post("/devices/pi-1/actions", json={"kind": "collect-logs"})
    data = b"x" * (MAX_UPLOAD_BYTES + 1)
    headers = {"Repr-Digest": repr_digest(sha256(data))}
    assert desk.client.put(postbox.orders[0].upload_url or "", content=data, headers=headers).status_code == 413


def test_what_nobody_ordered_is_not_taken(desk: HttpDesk) -> None:
    headers = {"Repr-Digest": repr_digest(sha256(DATA))}
    assert desk.client.put("/devices/pi-1/logs/none", content=DATA, headers=headers).status_code == 404


def test_a_person_orders_waits_and_gets_the_file(desk: HttpDesk, postbox: Postbox, tmp_path: Path) -> None:
    collected = gzip.compress(b'{"kind":"about"}\n')

    def obey(action: Action) -> None:
        """The device, which answers at once."""
        depot = Depot(tmp_path / "controller.db")
        uploads.take_whole(depot.db, "pi-1", action.id, collected, sha256(collected), now_s=1.0)
        done = Event(boot_id="b", seq=1, at_s=1.0, kind="action-done", action_id=action.id, reason="36 bytes over HTTP")
        ingest.apply_event(depot.db, "pi-1", done, now_s=1.0)
        depot.db.close()

    postbox.on_order = obey
    file = tmp_path / "logs.jsonl.gz"
    said = wherry("devices", "action", "pi-1", "collect-logs", "--wait", "-o", file, url=url(desk))
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[-1] == f"collect-logs is done: 36 bytes over HTTP; it is in {file}"
    assert file.read_bytes() == collected
    (listed,) = wherry("devices", "actions", "pi-1", "--json", url=url(desk)).json
    again = tmp_path / "again.gz"
    said = wherry("devices", "collected", "pi-1", listed["action"]["id"], "-o", again, url=url(desk))
    assert (said.status, again.read_bytes()) == (0, collected)
    assert "collect-logs" in wherry("devices", "actions", "pi-1", url=url(desk)).out


def test_a_refusal_and_a_silence_are_answers_of_status_1(desk: HttpDesk, postbox: Postbox, tmp_path: Path) -> None:
    def refuse(action: Action) -> None:
        depot = Depot(tmp_path / "controller.db")
        no = Event(boot_id="b", seq=1, at_s=1.0, kind="action-refused", action_id=action.id, reason="serves nothing")
        ingest.apply_event(depot.db, "pi-1", no, now_s=1.0)
        depot.db.close()

    postbox.on_order = refuse
    said = wherry("devices", "action", "pi-1", "self-test", "--wait", url=url(desk))
    assert (said.status, said.out.splitlines()[-1]) == (1, "self-test is refused: serves nothing")
    postbox.on_order = postbox.orders.append
    said = wherry("devices", "action", "pi-1", "restart-slot", "--wait", "--valid-s", "1", "--json", url=url(desk))
    assert (said.status, said.json["state"]) == (1, "late")


def test_an_order_that_is_not_waited_for_says_where_to_look(desk: HttpDesk, postbox: Postbox) -> None:
    said = wherry("devices", "action", "pi-1", "restart-slot", "--slot", "main", url=url(desk))
    (action,) = postbox.orders
    assert (said.status, action.slot, action.upload_url) == (0, "main", None)
    assert f"as {action.id}; see `wherry devices actions pi-1`" in said.out
    assert decode_down("action", msgspec.json.encode(action)) == action


@pytest.mark.parametrize(
    "arguments",
    [
        ("action", "pi-1", "dance"),
        ("action", "Not An Id", "self-test"),
        ("action", "pi-9", "self-test"),
        ("action", "pi-1", "self-test", "--slot", "NO!"),
        ("action", "pi-1", "self-test", "-o", "x"),
        ("collected", "pi-1", "../../etc"),
        ("collected", "pi-1", "none"),
        ("actions", "pi-9"),
    ],
)
def test_a_mistake_is_said_in_one_line(desk: HttpDesk, arguments: tuple[str, ...]) -> None:
    said = wherry("devices", *arguments, url=url(desk))
    assert said.status == 2
    assert len(said.err.splitlines()) == 1
