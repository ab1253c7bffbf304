"""Servers of artifacts that lie, babble, stall or point elsewhere: each is left, by name, and in time."""

import queue
import threading
from collections.abc import Callable

import pytest

from tests.conftest import Tried
from tests.support import hostile_server as bad
from tests.support.hostile_server import Fault, Visit, misbehaving
from tests.support.range_server import serving_blobs
from tests.support.wait import wait_until
from wherry.agent.adapters import ranges
from wherry.agent.adapters.http_blocks import HttpBlock, HttpBlocks
from wherry.agent.adapters.slow_links import SlowLimits
from wherry.protocol.blob import describe, sha256, split

pytestmark = pytest.mark.slow

BLOB = bytes(range(251)) * 600
REF = describe(BLOB)
BLOCKS = split(BLOB)
QUICK = SlowLimits(head_s=2.0, min_bytes_per_s=1000, window_s=2.0)
"""Longer than a good server of the same process takes on a machine that others use too."""

# A row: what the server does, and what is said of it.
LIES: list[tuple[Fault, str]] = [
    (bad.no_range, "answered 200 to a range request"),
    (bad.not_there, "answered 404 to a range request"),
    (bad.precondition_failed, "answered 412 to a range request"),
    (bad.another_range, "answered range 'bytes 1-131072/150600', asked for 'bytes 0-131071/150600'"),
    (bad.another_size, "answered range 'bytes 0-131071/150601', asked for"),
    (bad.no_content_range, "answered range None, asked for"),
    (bad.many_ranges, "answered range None, asked for"),
    (bad.compressed, "answered in the encoding 'gzip', which was not asked for"),
    (bad.weak_etag, "has a weak ETag, W/"),
    (bad.another_etag, 'has another ETag, "v2", where the digest is asked for'),
    (bad.shorter, "announced 131071 bytes, asked for 131072"),
    (bad.longer, "announced 131073 bytes, asked for 131072"),
]
BODIES: list[tuple[Fault, str]] = [
    (bad.cut_short, "peer closed connection without sending complete message body (received 131071 bytes"),
    (bad.shorter_without_length, "sent 131071 of 131072 bytes"),
    (bad.endless, "sent more than the 131072 bytes asked for"),
    (bad.endless_chunks, "sent more than the 131072 bytes asked for"),
    (bad.bad_chunks, "illegal chunk header"),
]
HEADS: list[tuple[Fault, str]] = [
    (bad.garbage, "illegal status line"),
    (bad.hang_up, "Server disconnected without sending a response"),
    (bad.endless_head, "Receive buffer too long"),
    (bad.endless_hints, "gave no answer within 2 s"),
    (bad.redirect_loop, "redirects more than 5 times"),
    (bad.redirect_to_nowhere, "redirects to nowhere"),
    (bad.redirect_beyond_ascii, "is not ASCII"),
    (bad.redirect_to_a_file, "file:///etc/hostname is neither http nor https"),
]
SLOW: list[tuple[Fault, str]] = [
    (bad.silent, "gave no answer within 2 s"),
    (bad.dripping_head, "gave no answer within 2 s"),
    (bad.stalled_body, "bytes in 2 s, slower than 1000 bytes/s"),
    (bad.dripping_body, "bytes in 2 s, slower than 1000 bytes/s"),
]
TABLE = [*LIES, *BODIES, *HEADS, *SLOW]


class Client:
    """The adapter, and its answers for the first two of the three blocks, asked for together."""

    def __init__(self, limits: SlowLimits = QUICK) -> None:
        self.got: queue.SimpleQueue[HttpBlock] = queue.SimpleQueue()
        self.http = HttpBlocks(self.got.put, limits=limits)
        self._first = describe(b"first")

    def ask(self, url: str) -> None:
        """While the thread is busy with something else, so that both go into one request."""
        gate = threading.Event()

        class Shelf(dict[str, bytes]):
            def get(self, digest: str, _default: object = None) -> bytes:  # type: ignore[override]  # as the server asks
                gate.wait(10)
                return b"first"

        with serving_blobs(Shelf()) as first_url:
            self.http.ask(first_url, self._first, 0)
            for index in (0, 1):
                self.http.ask(url, REF, index)
            gate.set()
            assert self.got.get(timeout=10).data == b"first"

    def answers(self) -> list[HttpBlock]:
        return [self.got.get(timeout=10) for _ in range(2)]


def _is_held_well(answers: list[HttpBlock], reason: str) -> bool:
    """Whether the fault was named, and each answer has the length of its block or none."""
    told = [answer.reason for answer in answers if answer.data is None]
    lengths = [len(answer.data) for answer in answers if answer.data is not None]
    return bool(told) and all(reason in text for text in told) and all(size == len(BLOCKS[0]) for size in lengths)


@pytest.mark.parametrize(("fault", "reason"), TABLE, ids=[fault.__name__ for fault, _ in TABLE])
def test_a_bad_server_is_named_and_the_next_one_is_asked(fault: Fault, reason: str) -> None:
    client = Client()
    with misbehaving(fault, BLOB) as url:
        client.ask(url)
        answers = client.answers()
        assert _is_held_well(answers, reason), answers
        assert all(url in answer.reason for answer in answers if answer.data is None)
    with serving_blobs({REF.digest: BLOB}) as url:
        client.ask(url)
        answers = client.answers()
    assert [answer.data for answer in answers] == BLOCKS[:2], [answer.reason for answer in answers]


def test_blocks_before_a_cut_are_kept(tried: Tried) -> None:
    client = Client()
    with misbehaving(bad.cut_short, BLOB) as url:
        client.ask(url)
        first, second = client.answers()
    assert (first.data, second.data) == (BLOCKS[0], None)
    tried(f"{len(TABLE)} bad servers in the table")


def test_a_certificate_that_nobody_signed_is_refused() -> None:
    client = Client()
    with misbehaving(lambda visit: visit.answer(), BLOB, tls=True) as url:
        client.ask(url)
        assert _is_held_well(client.answers(), "certificate verify failed: self-signed certificate")


def test_a_handshake_that_never_comes_is_given_up() -> None:
    client = Client()
    with misbehaving(bad.garbage, BLOB) as url:
        client.ask(url.replace("http:", "https:"))
        assert _is_held_well(client.answers(), "The handshake operation timed out")


def test_tls_is_not_left_for_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the certificate trusted for once, as one of a private authority is."""
    monkeypatch.setenv("SSL_CERT_FILE", str(bad.CERTIFICATE))
    client = Client()

    def down(visit: Visit) -> None:
        visit.say("HTTP/1.1 302 Found", "Location: http://localhost/elsewhere", "Content-Length: 0")

    with misbehaving(down, BLOB, tls=True) as url:
        client.ask(url)
        assert _is_held_well(client.answers(), "redirects from https to http://localhost/elsewhere")
    with misbehaving(lambda visit: visit.answer(), BLOB, tls=True) as url:
        client.ask(url)
        assert [answer.data for answer in client.answers()] == BLOCKS[:2]


@pytest.mark.parametrize(
    "url", ["ftp://localhost/a", "localhost/a", "http://", "http://[::1/a", "http://host:99999/a", "http://\udcff/a"]
)
def test_a_url_that_is_none_is_a_reason(url: str) -> None:
    client = Client()
    client.ask(url)
    assert all(answer.reason for answer in client.answers())


def test_negative_control_a_client_that_believes_what_it_is_told_is_found(
    monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    monkeypatch.setattr(ranges, "_check", lambda *_: None)
    assert _fooled(LIES, lambda: Client()) >= 8
    tried(f"{len(LIES)} lying servers")


def _fooled(rows: list[tuple[Fault, str]], make: Callable[[], Client]) -> int:
    """How many rows the same test finds."""
    found = 0
    for fault, reason in rows:
        client = make()
        with misbehaving(fault, BLOB) as url:
            client.ask(url)
            found += not _is_held_well(client.answers(), reason)
    return found


@pytest.mark.parametrize("fault", [bad.dripping_head, bad.dripping_body])
def test_negative_control_a_limit_for_each_read_is_got_round_by_a_byte_now_and_then(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client has it that knows time limits for reads only."""
    drips: list[bytes] = []

    monkeypatch.setattr(Visit, "drip", lambda visit, data: _drip(visit, data, drips))
    client = Client(SlowLimits(head_s=3600, min_bytes_per_s=0, window_s=0.4))
    with misbehaving(fault, BLOB) as url:
        client.ask(url)
        wait_until(lambda: len(drips) >= 100, "five windows of drips")
        assert client.got.empty()


def _drip(visit: Visit, data: bytes, drips: list[bytes]) -> None:
    while not visit.leave.wait(0.02):
        visit.connection.sendall(data)
        drips.append(data)


def test_what_was_handed_on_is_what_was_sent() -> None:
    """The adapter does not judge content; hashes do, in `Fetch`."""
    client = Client()
    with misbehaving(lambda visit: visit.answer(body=bytes(len(visit.body))), BLOB) as url:
        client.ask(url)
        assert [sha256(answer.data or b"") for answer in client.answers()] == [sha256(bytes(65536))] * 2
