"""Collected logs on their way up: over HTTP, as blocks, through cuts; and what is in them."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.cargo_hold import DEVICE, FLEET, make_version
from tests.support.rig import Rig
from wherry.agent.adapters.broker import Taken
from wherry.agent.adapters.http_upload import HttpUploaded
from wherry.agent.adapters.logs import LogBuffer, Recent
from wherry.agent.bundle import bundle, without_secrets
from wherry.agent.uploads import BLOCKS_IN_FLIGHT, HTTP_LIMIT_S, MAX_WAITING
from wherry.protocol import topics
from wherry.protocol.blob import sha256
from wherry.protocol.codec import encode
from wherry.protocol.down import Action
from wherry.protocol.limits import UPLOAD_BLOCK_BYTES
from wherry.protocol.up import Upload

URL = "http://controller.example/logs/c1"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "state")


def collect(rig: Rig, action_id: str = "c1", url: str | None = None) -> None:
    action = Action(id=action_id, kind="collect-logs", not_after_s=rig.clock.wall_s() + 60, upload_url=url)
    rig.deliver(topics.down(FLEET, DEVICE, "action"), encode(action))


def chatter(rig: Rig, lines: int = 300) -> None:
    """So many lines, of which no two are alike, that a bundle has several blocks."""
    for number in range(lines):
        noise = "".join(sha256(b"%d %d" % (number, part)) for part in range(14))
        rig.logs(None, "info", {"level": "info", "event": "noise", "at_s": 1.0, "a": noise[:450], "b": noise[450:]})


def whole(blocks: list[Upload]) -> bytes:
    by_index = {block.index: block.data for block in blocks}
    return b"".join(by_index[index] for index in sorted(by_index))


def entries(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(data).splitlines()]


def test_a_bundle_tells_what_the_board_is_what_it_runs_and_its_last_lines(rig: Rig) -> None:
    rig.boot()
    rig.deploy(1, make_version(1))
    rig.logs(None, "info", {"level": "info", "event": "hello", "at_s": 1.0})
    collect(rig)
    found = entries(whole(rig.sent(Upload)))
    kinds = [entry["kind"] for entry in found]
    assert kinds[:7] == ["about", "status", "board", "system", "packages", "configuration", "record"]
    assert found[1]["value"]["slots"][0]["serving"] == "digits:1 (int8)"
    assert found[-1] == {"kind": "log", "value": {"at_s": 1.0, "level": "info", "event": "hello"}}
    (done,) = rig.events("action-done")
    assert (done.digest, done.transport) == (sha256(whole(rig.sent(Upload))), "mqtt")
    assert "as blocks over MQTT" in done.reason


def test_over_http_nothing_goes_over_mqtt_and_the_answer_waits_for_the_server(rig: Rig) -> None:
    put: list[tuple[str, str, bytes, str]] = []
    rig.put_bundle = lambda *what: put.append(what)
    rig.boot()
    collect(rig, url=URL)
    ((url, action_id, data, digest),) = put
    assert (url, action_id, digest) == (URL, "c1", sha256(data))
    assert rig.events("action-done") == []
    rig.inbox.put(HttpUploaded("c1", ""))
    rig.settle()
    (done,) = rig.events("action-done")
    assert (done.digest, done.transport, rig.sent(Upload)) == (digest, "http", [])


@pytest.mark.parametrize("answers", [True, False])
def test_where_http_fails_or_never_answers_blocks_follow(rig: Rig, *, answers: bool) -> None:
    rig.put_bundle = lambda *_: None
    rig.boot()
    collect(rig, url=URL)
    if answers:
        rig.inbox.put(HttpUploaded("c1", "HTTP status 500"))
        rig.settle()
    else:
        rig.wait(HTTP_LIMIT_S + 1)
    (done,) = rig.events("action-done")
    assert done.transport == "mqtt"
    assert ("HTTP status 500" if answers else "no answer within 60 s") in done.reason
    rig.inbox.put(HttpUploaded("c1", ""))
    rig.settle()
    assert len(rig.events("action-done")) == 1, "a late answer changes nothing"


def test_few_blocks_wait_at_the_broker_and_the_rest_follows_its_acknowledgements(rig: Rig) -> None:
    rig.boot()
    chatter(rig)
    held = hold_acknowledgements(rig)
    collect(rig)
    assert len(rig.sent(Upload)) == BLOCKS_IN_FLIGHT
    count = rig.sent(Upload)[0].count
    assert count > 3
    while held:
        assert len(held) <= BLOCKS_IN_FLIGHT
        rig.inbox.put(held.pop(0))
        rig.settle()
    assert [block.index for block in rig.sent(Upload)] == list(range(count))
    assert all(len(block.data) == UPLOAD_BLOCK_BYTES for block in rig.sent(Upload)[:-1])
    assert entries(whole(rig.sent(Upload)))[0]["kind"] == "about"


def hold_acknowledgements(rig: Rig) -> list[Taken]:
    """From now on, those of blocks are given to the test instead."""
    held: list[Taken] = []
    publish, put = rig.link.publish, rig.link._on_event

    def publishing(topic: str, payload: bytes, **options: Any) -> tuple[int, int] | None:
        rig.link._on_event = held.append if topic.endswith("/upload") else put  # type: ignore[assignment]
        try:
            return publish(topic, payload, **options)
        finally:
            rig.link._on_event = put

    rig.link.publish = publishing  # type: ignore[method-assign]
    return held


def test_what_was_not_acknowledged_is_sent_again_after_every_cut(rig: Rig) -> None:
    rig.boot()
    chatter(rig)
    held = hold_acknowledgements(rig)
    collect(rig)
    count, cuts = rig.sent(Upload)[0].count, 0
    for _ in range(10 * count):
        if not held:
            break
        rig.inbox.put(held.pop(0))  # one is acknowledged, the other one is lost in the cut
        rig.settle()
        held.clear()
        rig.link.disconnect()
        rig.settle()
        rig.link.connect()
        rig.settle()
        cuts += 1
    assert {block.index for block in rig.sent(Upload)} == set(range(count))
    assert cuts >= count
    assert entries(whole(rig.sent(Upload)))
    assert len(rig.events("action-done")) == 1


def test_offline_a_bundle_waits_for_the_broker(rig: Rig) -> None:
    rig.boot()
    rig.link.disconnect()
    rig.settle()
    collect(rig)
    assert rig.sent(Upload) == []
    rig.link.connect()
    rig.settle()
    assert len(rig.events("action-done")) == 1


def test_bundles_go_one_after_another_and_too_many_are_refused(rig: Rig) -> None:
    rig.put_bundle = lambda *_: None
    rig.boot()
    for number in range(MAX_WAITING + 2):
        collect(rig, f"c{number}", URL)
    assert [event.action_id for event in rig.events("action-refused")] == [f"c{MAX_WAITING + 1}"]
    for number in range(MAX_WAITING + 1):
        rig.inbox.put(HttpUploaded(f"c{number}", ""))
        rig.settle()
    assert [event.action_id for event in rig.events("action-done")] == [f"c{n}" for n in range(MAX_WAITING + 1)]


def test_the_last_lines_are_bounded_by_lines_and_by_bytes() -> None:
    recent = Recent(max_lines=3, max_bytes=100)
    for number in range(5):
        recent.add(b"%d" % number)
    assert (recent.lines(), recent.forgotten) == ((b"2", b"3", b"4"), 2)
    recent.add(b"x" * 99)
    assert (recent.lines(), recent.size_bytes) == ((b"4", b"x" * 99), 100)


def test_what_reads_like_a_secret_is_left_out_however_deep() -> None:
    value = {"broker": {"host": "h", "password": "p", "token": ""}, "list": [{"client_secret": "s", "port": 1}]}
    found = without_secrets(value)
    assert found == {
        "broker": {"host": "h", "password": "left out", "token": ""},
        "list": [{"client_secret": "left out", "port": 1}],
    }


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("rtsp://admin:hunter2@10.0.0.5/live", "rtsp://***@10.0.0.5/live"),
        ("rtsp://admin:hunt@er2@10.0.0.5:554/a@b", "rtsp://***@10.0.0.5:554/a@b"),
        ("camera http://u@h/v?user=a&pwd=hunter2&x=1: gone", "camera http://***@h/v?user=a&pwd=***&x=1: gone"),
        ("https://h/v?access_token=hunter2#top, http://u:hunter2@h", "https://h/v?access_token=***#top, http://***@h"),
        ("http://h:80/a@b?x=c@d", "http://h:80/a@b?x=c@d"),
        ("boat@harbour", "boat@harbour"),
    ],
)
def test_who_logs_in_to_a_url_does_not_leave_the_board(said: str, kept: str) -> None:
    assert without_secrets({"feed": {"camera": said}, "list": [said]}) == {"feed": {"camera": kept}, "list": [kept]}
    logs = LogBuffer()
    logs(None, "warning", {"event": said, "level": "warning", "at_s": 1.0, "reason": said})
    (line,), _ = logs.take()
    assert (line.event, line.fields["reason"]) == (kept, kept)
    assert b"hunter2" not in logs.recent.lines()[0]


def test_equal_contents_give_equal_bytes() -> None:
    lines = [msgspec.json.encode({"a": 1})]
    assert bundle([("about", {"x": 1})], lines) == bundle([("about", {"x": 1})], lines)
