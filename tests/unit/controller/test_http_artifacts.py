"""`/artifacts`: put once, had for ever, in ranges; nothing is left of what was not right."""

import hashlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.http_desk import LIMIT_BYTES, HttpDesk, serving
from tests.support.wait import wait_until
from wherry.controller.store.tables import BlobRow
from wherry.protocol.blob import BlobRef, describe, hash_list
from wherry.protocol.types import is_digest

pytestmark = pytest.mark.slow

DATA = random.Random(1).randbytes(200_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
OTHER = "0" * 64
URL = f"/artifacts/{DIGEST}"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with serving(tmp_path) as desk:
        yield desk


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDesk]:
    """No artifact is there; the tests leave it so."""
    with serving(tmp_path_factory.mktemp("empty")) as desk:
        yield desk


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDesk]:
    """One artifact is there; the tests only read."""
    with serving(tmp_path_factory.mktemp("kept")) as desk:
        desk.client.put(URL, content=DATA).raise_for_status()
        yield desk


def _recorded(desk: HttpDesk) -> BlobRef:
    with desk.db.read() as session:
        return msgspec.convert(session.get_one(BlobRow, DIGEST), BlobRef, from_attributes=True)


def test_the_same_bytes_may_be_put_again(desk: HttpDesk) -> None:
    first, second = (desk.client.put(URL, content=DATA) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.headers["location"] == f"/api/v1{URL}"
    assert first.json() == second.json()
    assert _recorded(desk) == describe(DATA)
    assert desk.left_behind() == [DIGEST, f"{DIGEST}.hashes"]


def test_a_put_repairs_a_record_that_a_killed_controller_did_not_write(desk: HttpDesk) -> None:
    (desk.artifacts_dir / DIGEST).write_bytes(DATA)
    assert desk.client.put(URL, content=DATA).status_code == 200
    assert _recorded(desk) == describe(DATA)


@pytest.mark.parametrize(
    ("digest", "body", "status", "words"),
    [
        (OTHER, DATA, 422, f"the bytes have the digest {DIGEST}"),
        (OTHER[1:], DATA, 422, "is not a digest"),
        (DIGEST.upper(), DATA, 422, "is not a digest"),
        (hashlib.sha256(b"").hexdigest(), b"", 422, "no bytes"),
        (OTHER, bytes(LIMIT_BYTES + 1), 413, f"larger than {LIMIT_BYTES} bytes"),
        (OTHER, iter([bytes(LIMIT_BYTES // 2)] * 3), 413, f"larger than {LIMIT_BYTES} bytes"),
    ],
    ids=["wrong digest", "no digest", "upper case", "empty", "too large", "too large and not announced"],
)
def test_what_is_refused_leaves_nothing(empty: HttpDesk, digest: str, body: object, status: int, words: str) -> None:
    answer = empty.client.put(f"/artifacts/{digest}", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]
    assert empty.left_behind() == []
    assert empty.client.get(f"/artifacts/{digest}").status_code == 404


def test_the_largest_that_is_allowed_is_kept(desk: HttpDesk) -> None:
    data = bytes(LIMIT_BYTES)
    assert desk.client.put(f"/artifacts/{hashlib.sha256(data).hexdigest()}", content=data).status_code == 201


@pytest.mark.parametrize("framing", ["Content-Length: 200000", "Transfer-Encoding: chunked"])
def test_a_client_that_leaves_halfway_leaves_no_file(empty: HttpDesk, framing: str) -> None:
    with socket.create_connection(("127.0.0.1", empty.port)) as client:
        half = DATA[:100_000]
        body = half if "Length" in framing else b"%x\r\n%s\r\n" % (len(half), half)
        client.sendall(f"PUT /api/v1{URL} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode() + body)
        wait_until(lambda: len(empty.left_behind()) == 1, "the upload has begun")
        assert not any(map(is_digest, empty.left_behind()))
    wait_until(lambda: empty.left_behind() == [], "what was begun is dropped")
    assert empty.client.get(URL).status_code == 404


def test_two_clients_may_put_the_same_at_once(desk: HttpDesk) -> None:
    with socket.create_connection(("127.0.0.1", desk.port)) as slow:
        head = f"PUT /api/v1{URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n"
        slow.sendall(head.encode() + DATA[:1000])
        wait_until(lambda: len(desk.left_behind()) == 1, "the slow one has begun")
        assert desk.client.put(URL, content=DATA).status_code == 201
        slow.sendall(DATA[1000:])
        assert slow.recv(12) == b"HTTP/1.1 201"
    assert desk.client.get(URL).content == DATA


def test_it_comes_back_whole_with_a_strong_etag(kept: HttpDesk) -> None:
    answer = kept.client.get(URL)
    assert answer.content == DATA
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert "immutable" in answer.headers["cache-control"]


def test_head_is_get_without_the_bytes(kept: HttpDesk) -> None:
    head, get = kept.client.head(URL), kept.client.get(URL)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(DATA))
    assert [head.headers[name] for name in ("etag", "accept-ranges")] == [f'"{DIGEST}"', "bytes"]
    assert set(head.headers) == set(get.headers)
    assert kept.client.head(f"/artifacts/{OTHER}").status_code == 404


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("65536-131071", 65536, 131071), ("199999-", 199_999, 199_999), ("-10", 199_990, 199_999)],
)
def test_a_range_is_answered_with_just_that(kept: HttpDesk, asked: str, first: int, last: int) -> None:
    answer = kept.client.get(URL, headers={"Range": f"bytes={asked}"})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert answer.content == DATA[first : last + 1]


def test_a_range_past_the_end_is_refused_with_the_size(kept: HttpDesk) -> None:
    answer = kept.client.get(URL, headers={"Range": f"bytes={len(DATA)}-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


def test_a_range_of_another_file_is_answered_whole(kept: HttpDesk) -> None:
    answer = kept.client.get(URL, headers={"Range": "bytes=0-9", "If-Range": f'"{OTHER}"'})
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


def test_its_list_of_hashes_lies_beside_it(kept: HttpDesk) -> None:
    answer = kept.client.get(f"{URL}/hashes")
    assert (answer.status_code, answer.content) == (200, hash_list(DATA))
    assert answer.headers["etag"] == f'"{describe(DATA).hashes}"'
    assert kept.client.get(f"/artifacts/{OTHER}/hashes").status_code == 404


@pytest.mark.parametrize("name", [OTHER, f"{DIGEST}.hashes", "..%2fcontroller.db", "%00", DIGEST.upper()])
def test_only_digests_name_files(kept: HttpDesk, name: str) -> None:
    answer = kept.client.get(f"/artifacts/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
