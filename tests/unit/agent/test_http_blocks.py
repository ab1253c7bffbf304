"""Blocks over HTTP from a real server: right bytes, or a reason, never more than was asked for."""

import queue
import threading
from collections.abc import Mapping

import pytest

from tests.support.no_threads import no_threads
from tests.support.range_server import serving_blobs
from tests.support.wait import wait_until
from wherry.agent.adapters import http_blocks
from wherry.agent.adapters.http_blocks import HttpBlock, HttpBlocks
from wherry.protocol.blob import describe, hash_list, split

DATA = bytes(range(251)) * 600
REF = describe(DATA)


@pytest.fixture
def answers() -> tuple[HttpBlocks, "queue.SimpleQueue[HttpBlock]"]:
    got: queue.SimpleQueue[HttpBlock] = queue.SimpleQueue()
    blocks = HttpBlocks(got.put)
    return blocks, got


Answers = tuple[HttpBlocks, "queue.SimpleQueue[HttpBlock]"]


def test_every_block_comes_as_it_is(answers: Answers) -> None:
    blocks, got = answers
    with serving_blobs({REF.digest: DATA}) as url:
        for index in range(REF.block_count):
            blocks.ask(url, REF, index)
        found = [got.get(timeout=5) for _ in range(REF.block_count)]
    assert [answer.data for answer in found] == split(DATA)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"spoil": b"more"}, "announced 65540 bytes, asked for 65536"),
        ({"status": 500}, "answered 500 to a range request"),
        ({"status": 200}, "answered 200 to a range request"),
    ],
)
def test_anything_else_is_a_reason(answers: Answers, options: dict[str, object], reason: str) -> None:
    blocks, got = answers
    with serving_blobs({REF.digest: DATA}, **options) as url:  # type: ignore[arg-type]  # rows of the table
        blocks.ask(url, REF, 0)
        answer = got.get(timeout=5)
    assert answer.data is None
    assert reason in answer.reason


def test_a_blob_of_another_size_is_refused(answers: Answers) -> None:
    blocks, got = answers
    with serving_blobs({REF.digest: DATA + b"tail"}) as url:
        blocks.ask(url, REF, 0)
        assert "answered range 'bytes 0-65535/150604'" in got.get(timeout=5).reason


def test_a_server_that_is_not_there_is_a_reason(answers: Answers) -> None:
    blocks, got = answers
    with serving_blobs({}) as url:
        pass
    blocks.ask(url, REF, 0)
    answer = got.get(timeout=5)
    assert answer.data is None
    assert url in answer.reason


class SlowShelf(dict[str, bytes]):
    """Blobs of a server that answers once it is let go, and counts what it is asked for."""

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        super().__init__(blobs)
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.may_go = threading.Event()

    def get(self, digest: str, _default: object = None) -> bytes:  # type: ignore[override]  # what the server uses
        self.asked.put(digest)
        self.may_go.wait(5)
        return self[digest]


def test_neighbours_that_wait_come_by_one_request_and_others_by_their_own(answers: Answers) -> None:
    blocks, got = answers
    other = describe(b"other")
    asked: list[str] = []
    shelf = SlowShelf({REF.digest: DATA, other.digest: b"other"})
    with serving_blobs(shelf, asked=asked) as url:
        blocks.ask(url, other, 0)
        assert shelf.asked.get(timeout=5) == other.digest
        for index in (0, 1, 2):
            blocks.ask(url, REF, index)
        shelf.may_go.set()
        found = [got.get(timeout=5) for _ in range(4)]
    assert [answer.index for answer in found] == [0, 0, 1, 2]
    assert b"".join(answer.data or b"" for answer in found[1:]) == DATA
    assert asked == ["bytes=0-4", f"bytes=0-{len(DATA) - 1}"]


def test_the_list_of_hashes_comes_too_or_a_reason(answers: Answers) -> None:
    blocks, got = answers
    with serving_blobs({REF.digest: DATA}) as url:
        blocks.ask(url, REF, None)
        assert got.get(timeout=5) == HttpBlock(digest=REF.digest, index=None, data=hash_list(DATA))
    with serving_blobs({REF.digest: DATA}, has_lists=False) as url:
        blocks.ask(url, REF, None)
        assert "answered 404 to a request" in got.get(timeout=5).reason


def test_what_waits_already_is_fetched_once() -> None:
    got: queue.SimpleQueue[HttpBlock] = queue.SimpleQueue()
    blocks = HttpBlocks(got.put, run_blocks=1)
    shelf = SlowShelf({REF.digest: DATA})
    with serving_blobs(shelf) as url:
        for _ in range(50):
            for index in range(REF.block_count):
                blocks.ask(url, REF, index)
        shelf.may_go.set()
        found = [got.get(timeout=5).index for _ in range(REF.block_count)]
        blocks.ask(url, REF, 0)
        assert got.get(timeout=5).index == 0
    assert found == list(range(REF.block_count))
    assert shelf.asked.qsize() == REF.block_count + 1


def test_what_is_forgotten_is_neither_fetched_nor_answered(answers: Answers) -> None:
    blocks, got = answers
    other = describe(b"other")
    shelf = SlowShelf({REF.digest: DATA, other.digest: b"other"})
    with serving_blobs(shelf) as url:
        for index in range(REF.block_count):
            blocks.ask(url, REF, index)
        assert shelf.asked.get(timeout=5) == REF.digest
        blocks.forget(REF.digest)
        blocks.ask(url, other, 0)
        shelf.may_go.set()
        assert got.get(timeout=5).data == b"other"
        assert shelf.asked.get(timeout=5) == other.digest
    assert shelf.asked.empty()
    assert got.empty()


@pytest.mark.parametrize("where", ["__init__", "blocks"])
def test_what_nobody_foresaw_is_a_reason_and_the_next_is_fetched(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    blocks, got = answers
    with serving_blobs({REF.digest: DATA}) as url:
        with monkeypatch.context() as patch:
            patch.setattr(http_blocks.Ranges, where, _unforeseen)
            blocks.ask(url, REF, 0)
            blocks.ask(url, REF, 2)
            found = [got.get(timeout=5) for _ in range(2)]
        assert [(answer.index, answer.data) for answer in found] == [(0, None), (2, None)]
        assert all("MemoryError: nobody thought of it" in answer.reason for answer in found)
        blocks.ask(url, REF, 0)
        assert got.get(timeout=5).data == split(DATA)[0]


def _unforeseen(*_: object) -> None:
    raise MemoryError("nobody thought of it")


def test_without_a_thread_there_is_a_reason_and_later_a_block(answers: Answers) -> None:
    blocks, got = answers
    with serving_blobs({REF.digest: DATA}) as url:
        with no_threads():
            blocks.ask(url, REF, 0)
        assert "can't start new thread" in got.get(timeout=5).reason
        blocks.ask(url, REF, 0)
        assert got.get(timeout=5).data == split(DATA)[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_was_lost_is_replaced(answers: Answers) -> None:
    """Where even the reason could not be handed on."""
    blocks, got = answers

    def lose(_answer: HttpBlock) -> None:
        blocks._on_block = got.put
        raise MemoryError

    blocks._on_block = lose
    blocks.ask("ftp://nowhere", REF, 0)
    wait_until(lambda: blocks._thread is not None and not blocks._thread.is_alive(), "the thread is gone")
    with serving_blobs({REF.digest: DATA}) as url:
        blocks.ask(url, REF, 0)
        assert got.get(timeout=5).data == split(DATA)[0]
