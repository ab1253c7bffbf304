"""What schemathesis seldom sends: numbers without end, NUL, half a letter, depth, no body and too much of one.

Each is refused as a problem, never with 5xx, on SQLite and on PostgreSQL.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.controller_values import TFLITE
from tests.support.depot import Depot
from tests.support.http_desk import FLEET, HttpDesk, serving
from tests.support.shelf import Shelf
from wherry.controller.http.bodies import MAX_JSON_BYTES
from wherry.controller.http.openapi_bodies import BODIES
from wherry.controller.http.problems import MEDIA_TYPE

pytestmark = pytest.mark.slow

NAMES = {
    "model": "digits", "version": "1", "alias": "stable", "device": "pi-1", "slot": "main", "rollout": "1",
    "conversion": "1", "gate": "latency", "name": "hall",
}  # fmt: skip

DEPTH = 100_000

ODD_BODIES = (
    b"", b" ", b"{", b"[]", b"null", b'"text"', b"1", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"{}{}",
    b"[" * DEPTH, b'{"plan":' * DEPTH, b'{"plan":{"target":' * 500, b"NaN", b"-Infinity",
    b'{"plan": {"model": NaN}, "version": Infinity, "reason": -Infinity, "wave": 1e999}',
    b'{"plan": 1e999, "version": 1e999, "notes": 1e999, "query": 1e999, "kind": 1e999, "name": 1e999, "reason": 1e999}',
    b'{"plan": 1, "plan": [], "version": "1", "notes": 2, "query": 2, "name": 2, "reason": 2, "manifest": 0}',
    rb'{"reason": "\ud800 half", "notes": "\udc00", "query": "\ud800", "name": "\ud800", "model": "\ud800"}',
)  # fmt: skip

BEYOND = (2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**400)

ODD_PATHS = (
    "/models/a%00b", "/models/digits/versions/%00", "/models/digits/versions/1%00", "/models/digits%2Fx/versions",
    "/models/%ED%A0%80", "/models/digits/versions/%D9%A3", "/devices/%00", "/devices/%ED%A0%80/story", "/groups/%00",
    "/devices/pi-1/actions/%00", "/devices/pi-1/logs/%00", "/artifacts/%00", "/artifacts/..%2F..%2Fcontroller.db",
    "/artifacts/%2e%2e", "/conversions/0", "/conversions/-1", "/conversions/1e3", "/conversions/%D9%A3x", "/rollouts/0",
    "/rollouts/1.5", "/rollouts/%00", "/logs?device=%00", "/logs?level=%00", "/devices?where=%00", "/devices?where=(((",
    "/devices?where=site=%00", "/devices?serving=%00", "/devices?serving=digits:99999999999999999999999",
    "/devices?presence=%00", "/devices?limit=-1", "/devices?limit=NaN", "/devices/pi-1?period_s=NaN",
    "/devices/pi-1?period_s=1e999", "/devices?where=" + "(" * 900, "/devices?where=" + "not%20" * 160,
    "/groups?after=%00", "/models?after=%00", "/models/digits/history?before_id=0", "/conversions?before_id=x",
    "/audit?max_rows=99999999999999999999999", "/models/" + "a" * 5000, "/devices/" + "%F0%9F%9A%A2" * 50,
)  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HttpDesk]:
    config = {}
    if request.param == "postgresql":
        new: Callable[[], str] = request.getfixturevalue("new_migrated_database")
        config["database"] = new()
    with serving(tmp_path, shelf=Shelf(FLEET), **config) as desk:
        depot = Depot.of(desk.db, time.time())
        depot.version("a")
        depot.device("pi-1", TFLITE)
        plan = {"model": "digits", "version": 1}
        desk.client.post("/rollouts", json={"plan": plan}).raise_for_status()
        yield desk


def _check_refused(desk: HttpDesk, method: str, path: str, body: bytes | Iterator[bytes] | None = None) -> None:
    answer = desk.client.request(method, path, content=body)
    assert 400 <= answer.status_code < 500, f"{answer.status_code} for {method} {path[:80]}: {answer.text[:300]}"
    assert answer.headers["content-type"] == MEDIA_TYPE, f"{method} {path[:80]}"


def test_odd_bodies_are_refused_by_every_operation_that_reads_one(desk: HttpDesk, tried: Tried) -> None:
    for method, template in BODIES:
        for body in ODD_BODIES:
            _check_refused(desk, method, template.format(**NAMES), body)
    tried(f"{len(ODD_BODIES)} bodies to each of {len(BODIES)} operations")


def test_odd_paths_and_queries_are_refused(desk: HttpDesk, tried: Tried) -> None:
    for path in ODD_PATHS:
        _check_refused(desk, "GET", path)
    tried(f"{len(ODD_PATHS)} paths and queries")


def test_numbers_beyond_every_row_are_refused(desk: HttpDesk, tried: Tried) -> None:
    for number in BEYOND:
        for path in ("/rollouts/{}", "/conversions/{}", "/rollouts/{}/verdicts", "/models/digits/versions/{}"):
            _check_refused(desk, "GET", path.format(number))
        _check_refused(desk, "PUT", "/models/digits/aliases/stable", b'{"version": %d}' % number)
        _check_refused(desk, "POST", "/rollbacks", b'{"model": "digits", "version": %d}' % number)
        _check_refused(desk, "POST", "/rollouts/1/promote", b'{"wave": %d}' % number)
        _check_refused(desk, "POST", "/rollouts", b'{"plan": {"model": "digits", "version": %d}}' % number)
        _check_refused(desk, "POST", "/rollouts", b'{"plan": {"model": "digits", "min_samples": %d}}' % number)
    tried(f"{len(BEYOND)} numbers to 9 operations")


def test_a_huge_body_in_chunks_is_refused(desk: HttpDesk) -> None:
    chunk = b'"' + b"x" * 65_536
    for method, template in BODIES:
        chunks = (chunk for _ in range(MAX_JSON_BYTES // len(chunk) + 2))
        _check_refused(desk, method, template.format(**NAMES), chunks)


def test_a_text_with_a_nul_is_refused_wherever_it_stands(desk: HttpDesk) -> None:
    nul = rb'"a\u0000b"'
    for method, path, body in (
        ("PUT", "/groups/hall", b'{"query": %s}'),
        ("POST", "/rollouts/1/abort", b'{"reason": %s}'),
        ("PUT", "/devices/pi-1/decommission", b'{"reason": %s}'),
        ("PUT", "/devices/pi-1/pins/main", b'{"reason": %s}'),
        ("PATCH", "/models/digits/versions/1", b'{"notes": %s}'),
        ("PUT", "/rollouts/1/overrides/latency", b'{"reason": "0123456789" , "reason": %s}'),
        ("POST", "/rollouts", b'{"plan": {"model": "digits", "target": {"labels": {"site": %s}}}}'),
    ):
        _check_refused(desk, method, path, body % nul)


def test_a_type_of_content_does_not_change_what_a_body_is(desk: HttpDesk) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", "\xff"):
        headers = {"Content-Type": kind.encode("latin-1")}
        answer = desk.client.post("/rollouts", content=b"model=digits", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (422, MEDIA_TYPE)


def test_a_manifest_of_odd_numbers_is_refused(desk: HttpDesk) -> None:
    for number in ("1e308", "-1", "99999999999999999999999"):
        body = f'{{"manifest": {{"model": "digits", "variants": [], "version": {number}}}}}'
        _check_refused(desk, "POST", "/models/digits/versions", body.encode())
