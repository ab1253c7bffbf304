"""The artifact store: whole and verified, or not there."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Tried
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.errors import Invalid, NotFound, Unavailable
from wherry.protocol.blob import describe, hash_list, split
from wherry.protocol.limits import BLOCK_BYTES

DATA = bytes(range(256)) * 800
DIGEST = describe(DATA).digest


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    store = ArtifactStore(tmp_path)
    store.put(DATA)
    return store


@contextmanager
def _disk_of(size_bytes: int) -> Iterator[None]:
    """Files of this process grow no further: the kernel answers with an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_the_reference_is_that_of_the_protocol(store: ArtifactStore, size: int) -> None:
    data = bytes(size)
    assert store.put(data) == describe(data)
    assert store.path(describe(data).digest).read_bytes() == data


def test_blocks_are_those_of_the_protocol(store: ArtifactStore) -> None:
    assert list(store.blocks(DIGEST)) == split(DATA)
    assert [store.block(DIGEST, index) for index in range(4)] == split(DATA)
    assert store.hash_list(DIGEST) == hash_list(DATA)


@pytest.mark.parametrize("index", [4, 2**40, 2**62, 2**80])
def test_past_the_end_there_is_no_block(store: ArtifactStore, index: int) -> None:
    assert store.block(DIGEST, index) == b""


def test_what_a_killed_upload_left_is_swept_and_the_rest_stays(store: ArtifactStore, tmp_path: Path) -> None:
    with store.receive(DIGEST) as upload:
        upload.write(b"half")
        upload._file.flush()
        assert len(list(tmp_path.iterdir())) == 3
        again = ArtifactStore(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [DIGEST, f"{DIGEST}.hashes"]
    again.verify(DIGEST)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "0" * 63, "0" * 65, DIGEST.upper(), DIGEST + "\n"])
def test_only_digests_name_files(store: ArtifactStore, name: str) -> None:
    assert not store.has(name)
    with pytest.raises(NotFound):
        store.path(name)
    with pytest.raises(Invalid):
        store.receive(name)


@pytest.mark.parametrize("at", [0, BLOCK_BYTES + 5, len(DATA) - 1])
def test_a_bit_that_the_disk_forgot_is_found_before_it_is_published(store: ArtifactStore, at: int) -> None:
    path = store.path(DIGEST)
    path.write_bytes(DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :])
    with pytest.raises(Unavailable, match="is damaged on disk") as found:
        store.verify(DIGEST)
    assert "delete that file" in found.value.line
    with pytest.raises(Unavailable, match="damaged on disk"):
        store.block(DIGEST, at // BLOCK_BYTES)


def test_a_damaged_block_of_a_blob_of_one_block_is_found(store: ArtifactStore) -> None:
    ref = store.put(b"small")
    store.path(ref.digest).write_bytes(b"small and grown")
    with pytest.raises(Unavailable, match="damaged on disk"):
        store.block(ref.digest, 0)


@pytest.mark.parametrize("listed", [None, b"", b"short", bytes(4 * 32)])
def test_a_lost_or_damaged_list_of_hashes_is_made_again(
    store: ArtifactStore, tmp_path: Path, listed: bytes | None
) -> None:
    path = tmp_path / f"{DIGEST}.hashes"
    if listed is None:
        path.unlink()
    else:
        path.write_bytes(listed)
    store.verify(DIGEST)
    assert store.hash_list(DIGEST) == path.read_bytes() == hash_list(DATA)
    assert store.ref(DIGEST) == describe(DATA)


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    data = bytes(5 * BLOCK_BYTES)
    with _disk_of(2 * BLOCK_BYTES), pytest.raises(Unavailable, match="cannot keep the artifact") as refused:
        store.put(data)
    assert "\n" not in refused.value.line
    assert set(tmp_path.iterdir()) == before
    assert store.put(data) == describe(data), "with room again"


def _kill_points(directory: Path, kind: str) -> tuple[list[str], int]:
    command = [sys.executable, "-m", "tests.support.artifact_crash_points", str(directory), kind]
    *problems, points = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return problems, int(points)


def test_a_kill_at_any_point_leaves_the_whole_blob_or_none(tmp_path: Path, tried: Tried) -> None:
    problems, points = _kill_points(tmp_path, "beside")
    tried(f"{points} kill points")
    assert problems == []
    assert points >= 10


def test_a_blob_written_in_place_is_left_half_by_a_kill(tmp_path: Path) -> None:
    """The negative control."""
    problems, _ = _kill_points(tmp_path, "in-place")
    assert [line for line in problems if "half" in line]
