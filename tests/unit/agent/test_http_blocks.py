"""Blocks over HTTP from a real server: right bytes, or a reason, never more than was asked for."""

import queue
from collections.abc import Iterator

import pytest

from tests.support.range_server import serving_blobs
from wherry.agent.adapters.http_blocks import HttpBlock, HttpBlocks
from wherry.protocol.blob import describe, split

DATA = bytes(range(251)) * 600
REF = describe(DATA)


@pytest.fixture
def answers() -> Iterator[tuple[HttpBlocks, "queue.SimpleQueue[HttpBlock]"]]:
    got: queue.SimpleQueue[HttpBlock] = queue.SimpleQueue()
    blocks = HttpBlocks(got.put)
    yield blocks, got
    blocks.stop()


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
        ({"spoil": b"more"}, "sent more than the 65536 bytes asked for"),
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
