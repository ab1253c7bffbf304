"""Every refusal of the API is a problem of RFC 9457: the right status, and one line that says what to do."""

import json
from collections.abc import Iterator

import msgspec
import pytest

from tests.support.controller_values import LITERT_ONLY, TFLITE, make_manifest, make_plan, make_variant
from tests.support.depot import Depot
from tests.support.http_desk import HttpDesk, serving

HUGE = "9" * 30

TYPES = {
    404: "not-found",
    405: "method-not-allowed",
    409: "conflict",
    413: "too-large",
    422: "invalid",
    503: "unavailable",
}
"""Released: programs compare them."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDesk]:
    """Two boards and two versions; rollout 1 of digits:1 has begun on pi-1, digits:2 fits no board."""
    data_dir = tmp_path_factory.mktemp("problems")
    with serving(data_dir) as desk:
        depot = Depot(data_dir / "controller.db")
        depot.version("a")
        depot.version("b", make_variant("b", floors=LITERT_ONLY))
        for device in ("pi-1", "pi-2"):
            depot.device(device, TFLITE)
        depot.db.close()
        body = {"plan": make_plan(1, target={"devices": ["pi-1"]})}
        desk.client.post("/rollouts", content=msgspec.json.encode(body)).raise_for_status()
        yield desk


def _refused(desk: HttpDesk, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    answer = desk.client.request(method, path, content=body)
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (told["status"], told["type"]) == (answer.status_code, f"urn:wherry:problem:{TYPES[answer.status_code]}")
    assert told["title"]
    assert told["instance"] == f"/api/v1{path.partition('?')[0]}"
    return answer.status_code, f"{told['detail']}; {told.get('fix', '')}"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/models/cats", "no model 'cats'; known are digits"),
        ("/models/cats/versions/1", "no model 'cats'"),
        ("/models/digits/versions/9", "no version digits:9; the newest is digits:2"),
        ("/devices/pi-9", "no device 'pi-9'; see `wherry devices`"),
        ("/devices/pi-9/events", "no device 'pi-9'"),
        ("/devices/%ff%00", "no device"),
        ("/rollouts/9", "no rollout 9; see `wherry rollout list`"),
        ("/rollouts/-1", "no rollout -1"),
        (f"/artifacts/{'0' * 64}", "upload it first"),
        ("/elsewhere", "GET /api/v1/elsewhere"),
    ],
)
def test_what_does_not_exist_is_404(desk: HttpDesk, path: str, words: str) -> None:
    status, line = _refused(desk, "GET", path)
    assert status == 404
    assert words in line


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rollouts/9/pause", b""),
        ("/rollouts/9/resume", b""),
        ("/rollouts/9/abort", b"{}"),
        ("/rollouts", msgspec.json.encode({"plan": make_plan(9)})),
        ("/rollouts/explain", msgspec.json.encode({"plan": make_plan(9)})),
        ("/rollouts", msgspec.json.encode({"plan": make_plan(1, target={"devices": ["pi-9"]})})),
        ("/rollbacks", b'{"model": "digits", "version": 9}'),
        ("/devices/pi-9/actions", b'{"kind": "collect-logs"}'),
    ],
)
def test_an_order_about_what_does_not_exist_is_404(desk: HttpDesk, path: str, body: bytes) -> None:
    assert _refused(desk, "POST", path, body)[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/rollouts", b"", "truncated"),
        ("/rollouts", b"{", "truncated"),
        ("/rollouts", b"\xff\xfe", "not right"),
        ("/rollouts", b"[" * 50_000, "not right"),
        ("/rollouts", b"[]", "Expected `object`"),
        ("/rollouts", b'{"plan": {"model": "digits", "version": 0}}', "$.plan.version"),
        ("/rollouts", b'{"plan": {"model": "No Name", "version": 1}}', "$.plan.model"),
        ("/rollouts", b'{"plan": {"model": "digits", "version": 1, "waves": []}}', "$.plan.waves"),
        (
            "/rollouts",
            b'{"plan": {"model": "digits", "version": 1, "target": {"labels": {"a": "b"}}}}',
            "no device is a=b",
        ),
        (
            "/rollouts",
            b'{"plan": {"model": "digits", "version": 1, "target": {"query": "a=1 b"}}}',
            "column 5 of the query",
        ),
        ("/rollouts/1/abort", b'{"restore": "nothing"}', "$.restore"),
        ("/rollbacks", b'{"model": 3}', "$.model"),
        ("/rollbacks", b'{"model": "digits", "version": 1, "device_deadline_s": 0}', "$.device_deadline_s"),
        ("/devices/pi-1/actions", b'{"kind": "explode"}', "$.kind"),
        ("/models/digits/versions", b"{}", "manifest"),
        ("/models/digits/versions", msgspec.json.encode({"manifest": make_manifest("c")}), "not uploaded"),
        ("/models/cats/versions", msgspec.json.encode({"manifest": make_manifest("c")}), "of the model 'digits'"),
    ],
)
def test_a_body_that_cannot_be_right_is_422(desk: HttpDesk, path: str, body: bytes, words: str) -> None:
    status, line = _refused(desk, "POST", path, body)
    assert status == 422
    assert words in line


@pytest.mark.parametrize(
    "path",
    [
        "/rollouts/one", f"/rollouts/{HUGE}", f"/models/digits/versions/{HUGE}", "/audit?max_rows=0",
        "/audit?max_rows=x", "/rollouts?max_rollouts=0", f"/logs?after_id={HUGE}", "/devices/pi-1/events?max_events=0",
        "/devices/pi-1?period_s=long", "/devices/pi-1?period_s=nan", "/devices/pi-1?period_s=inf",
        "/devices/pi-1?period_s=-1", f"/conversions?before_id={HUGE}",
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_right_is_422(desk: HttpDesk, path: str) -> None:
    assert _refused(desk, "GET", path)[0] == 422


@pytest.mark.parametrize("path", [f"/rollouts/{HUGE}", f"/conversions/{HUGE}"])
def test_a_number_that_no_row_can_have_is_told_in_words_of_our_own(desk: HttpDesk, path: str) -> None:
    assert _refused(desk, "GET", path) == (422, "a number is larger than any that can be kept; send one below 2**63")


def test_a_body_without_end_is_413(desk: HttpDesk) -> None:
    assert _refused(desk, "POST", "/rollouts", json.dumps("x" * 5_000_000).encode())[0] == 413


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/rollouts", {"plan": make_plan(1)}, "rollout 1 of digits:1 is running on pi-1; wait for it"),
        ("/rollouts", {"plan": make_plan(2)}, "no device can run digits:2: pi-1 needs litert >= 1.0.0"),
        ("/rollouts/explain", {"plan": make_plan(2)}, "no device can run digits:2"),
        ("/rollbacks", {"model": "digits"}, "no earlier completed rollout; name the version"),
    ],
)
def test_what_the_present_state_does_not_allow_is_409(desk: HttpDesk, path: str, body: object, words: str) -> None:
    status, line = _refused(desk, "POST", path, msgspec.json.encode(body))
    assert status == 409
    assert words in line


def test_an_order_that_cannot_be_sent_is_503(desk: HttpDesk) -> None:
    status, line = _refused(desk, "POST", "/devices/pi-1/actions", b'{"kind": "collect-logs"}')
    assert (status, "not connected to the broker" in line) == (503, True)


def test_a_device_that_was_never_known_cannot_be_removed(desk: HttpDesk) -> None:
    for device in ("pi-9", "%23", "pi-1%2F%2B"):
        assert _refused(desk, "DELETE", f"/devices/{device}")[0] == 404


def test_another_method_is_405_and_told_which_are_allowed(desk: HttpDesk) -> None:
    answer = desk.client.delete("/rollouts/1")
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert answer.headers["allow"] == "GET"


def test_no_name_and_no_text_has_a_nul_in_it(desk: HttpDesk) -> None:
    assert _refused(desk, "GET", "/models/a%00b")[0] == 404
    assert _refused(desk, "GET", "/logs?device=a%00b")[0] == 422
    assert _refused(desk, "PUT", "/groups/odd", rb'{"query": "site=a\u0000b"}')[0] == 422
    plan = rb'{"plan": {"model": "digits", "target": {"labels": {"a\u0000": "b"}}}}'
    told = _refused(desk, "POST", "/rollouts", plan)
    assert told == (422, "the body is not right: a text has a NUL in it; leave it out")
