"""Blocks on the broker: equal to what is needed, whenever the controller or the connection is cut."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.shelf import Shelf
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.errors import Unavailable
from wherry.protocol import topics
from wherry.protocol.blob import BlobRef, describe, hash_list, split

FLEET = "test"
BIG, SMALL = bytes(range(256)) * 800, b"a manifest"


class Pier:
    """A store with two blobs, a publisher, and the broker that it publishes to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = ArtifactStore(directory / "artifacts")
        self.big, self.small = self.store.put(BIG), self.store.put(SMALL)
        self.shelf = Shelf(FLEET)
        self.start_again()

    def start_again(self) -> None:
        """A new publisher knows only what is on disk."""
        self.blocks = BlockPublisher(self.store, self.shelf, FLEET, self.directory / "published")  # type: ignore[arg-type]

    def sync(self, *needed: BlobRef) -> None:
        asyncio.run(self.blocks.sync(needed))

    def repair(self, digest: str, index: int | None) -> bool:
        return asyncio.run(self.blocks.repair(digest, index))

    @property
    def markers(self) -> set[str]:
        return {path.name for path in (self.directory / "published").iterdir()}


@pytest.fixture
def pier(tmp_path: Path) -> Pier:
    return Pier(tmp_path)


def _messages(*blobs: bytes) -> dict[str, bytes]:
    """What a broker has to retain of the blobs."""
    found = {}
    for data in blobs:
        ref = describe(data)
        found |= {topics.block(FLEET, ref.digest, index): block for index, block in enumerate(split(data))}
        if ref.hashes is not None:
            found[topics.hashes(FLEET, ref.digest)] = hash_list(data)
    return found


def test_every_block_and_list_is_retained_and_each_published_once(pier: Pier) -> None:
    for _ in range(2):
        pier.sync(pier.small, pier.big)
    assert pier.shelf.retained == _messages(SMALL, BIG)
    assert len(pier.shelf.said) == len(set(pier.shelf.said)) == 6
    assert pier.blocks.published == {pier.big.digest, pier.small.digest}


def test_what_is_not_needed_any_more_is_cleared(pier: Pier) -> None:
    pier.sync(pier.small, pier.big)
    pier.sync(pier.small)
    assert pier.shelf.retained == _messages(SMALL)
    assert pier.markers == {pier.small.digest}
    pier.sync()
    assert (pier.shelf.retained, pier.markers) == ({}, set())


def test_a_new_connection_gets_everything_again(pier: Pier) -> None:
    pier.sync(pier.big)
    pier.shelf.lose_everything()
    pier.sync(pier.big)
    assert pier.shelf.retained == _messages(BIG)


def test_nothing_is_called_published_that_only_an_earlier_connection_was_given(pier: Pier) -> None:
    pier.sync(pier.big)
    pier.shelf.connected = False
    assert pier.blocks.published == frozenset()
    pier.shelf.connected = True
    pier.shelf.lose_everything()
    assert pier.blocks.published == frozenset()
    pier.sync(pier.big)
    assert pier.blocks.published == {pier.big.digest}


def test_the_marker_is_on_disk_before_the_first_block_goes_out(pier: Pier) -> None:
    marked: list[bool] = []
    pier.shelf.before_each = lambda topic: marked.append(topic.split("/")[4] in pier.markers)
    pier.sync(pier.small, pier.big)
    assert marked == [True] * 6


@pytest.mark.parametrize("room", range(7))
def test_a_connection_that_breaks_anywhere_leaves_nothing_undone(pier: Pier, room: int) -> None:
    pier.shelf.room = room
    try:
        pier.sync(pier.small, pier.big)
        broken = False
    except Unavailable:
        broken = True
    assert broken == (room < 6)
    pier.shelf.connections += 1
    pier.shelf.room = None
    pier.sync(pier.small, pier.big)
    assert pier.shelf.retained == _messages(SMALL, BIG)


@pytest.mark.parametrize("room", range(12))
def test_a_controller_killed_anywhere_clears_up_after_itself(pier: Pier, room: int) -> None:
    """Killed while publishing (the first 6 messages) or while clearing (the rest)."""
    pier.shelf.room = room
    with suppress(Unavailable):
        pier.sync(pier.small, pier.big)
        pier.sync()
    assert pier.shelf.room == 0
    pier.shelf.room = None
    pier.start_again()
    pier.sync()
    assert (pier.shelf.retained, pier.markers) == ({}, set())


def test_a_marker_that_was_cut_while_written_is_cleared(pier: Pier) -> None:
    (pier.directory / "published" / pier.big.digest).write_text("")
    (pier.directory / "published" / "README").write_text("not a marker")
    pier.sync()
    assert pier.markers == {"README"}


@pytest.mark.parametrize("wrong", [b"", BIG[:-1], b"x" * len(BIG), None])
def test_what_the_disk_lost_or_changed_is_not_published_and_holds_nothing_up(pier: Pier, wrong: bytes | None) -> None:
    path = pier.store.path(pier.big.digest)
    path.unlink() if wrong is None else path.write_bytes(wrong)
    pier.sync(pier.big, pier.small)
    assert pier.shelf.retained == _messages(SMALL)


def test_a_disk_that_cannot_keep_the_list_of_hashes_holds_nothing_up(pier: Pier) -> None:
    listed = pier.directory / "artifacts" / f"{pier.big.digest}.hashes"
    listed.unlink()
    listed.mkdir()
    pier.sync(pier.big, pier.small)
    assert pier.shelf.retained == _messages(SMALL)


@pytest.mark.parametrize("index", [0, 3, None])
def test_a_damaged_block_or_list_is_published_again(pier: Pier, index: int | None) -> None:
    pier.sync(pier.big)
    digest = pier.big.digest
    topic = topics.hashes(FLEET, digest) if index is None else topics.block(FLEET, digest, index)
    pier.shelf.retained[topic] = b"damaged"
    assert pier.repair(digest, index)
    assert pier.shelf.retained == _messages(BIG)
    assert not pier.repair(digest, index), "not twice in a second"


@pytest.mark.parametrize(
    ("digest", "index"),
    [("0" * 64, 0), ("", 0), ("../x", None), ("big", 4), ("big", 2**62), ("big", 2**80), ("small", None), ("small", 1)],
)
def test_what_is_not_there_is_not_repaired(pier: Pier, digest: str, index: int | None) -> None:
    pier.sync(pier.big, pier.small)
    before = list(pier.shelf.said)
    named = {"big": pier.big.digest, "small": pier.small.digest}.get(digest, digest)
    assert not pier.repair(named, index)
    assert pier.shelf.said == before


@pytest.mark.parametrize("wrong", [None, b"x" * len(BIG)])
def test_a_block_that_the_disk_lost_or_changed_is_not_published_again(pier: Pier, wrong: bytes | None) -> None:
    pier.sync(pier.big)
    path = pier.store.path(pier.big.digest)
    path.unlink() if wrong is None else path.write_bytes(wrong)
    assert not pier.repair(pier.big.digest, 1)
    assert pier.shelf.retained == _messages(BIG)
