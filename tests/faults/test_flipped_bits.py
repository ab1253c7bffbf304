"""One bit of the agent's files turned over: never loaded, no traceback, healed by the other copy or by fetching."""

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.cargo_hold import Version
from tests.support.fake_worker import Conduct
from tests.support.memory_disk import memory_directory
from tests.support.rig import Rig
from tests.support.soak import scaled
from tests.support.update_voyage import V1, V2, rest
from wherry.agent.adapters.store import Store, record
from wherry.agent.adapters.store.blobs import Blobs

pytestmark = pytest.mark.slow

AT_REST = scaled(400, soak=20_000)
BEFORE_LOADING = scaled(200, soak=10_000)
BITS_OF_A_BYTE = scaled(1, soak=8)
BOTH_COPIES = scaled(80, soak=2000)
VERIFIED = {V1.assignment.artifact, V2.assignment.artifact}


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    with memory_directory(tmp_path) as directory:
        yield directory


@pytest.fixture
def rig(base: Path) -> Rig:
    """An agent that serves the second version, has the first one to fall back to, and is cut off."""
    rig = Rig(base / "state").boot()
    rig.deploy(1, V1)
    rig.deploy(2, V2)
    return rig.cut()


def _flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.chmod(0o600)
    path.write_bytes(data)


def _places(version: Version, tries: int) -> Iterator[tuple[str, int]]:
    """Bits of the version's files, every file as often as the others and evenly over each."""
    chance = random.Random(tries)
    for number in range(tries):
        ref, data = version.blobs[number % len(version.blobs)]
        share = number / tries
        yield ref.digest, min(int(share * len(data)), len(data) - 1) * 8 + chance.randrange(8)


def _loaded(rig: Rig) -> set[str]:
    return {worker.artifact for worker in rig.yard.workers if worker.artifact}


def _served(rig: Rig) -> list[str]:
    return [worker.artifact for worker in rig.yard.serving]


def _is_whole(rig: Rig, digest: str) -> bool:
    path = rig.store.blobs.path(digest)
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_a_file_that_rots_at_rest_is_never_loaded_and_comes_back(rig: Rig, tried: Tried) -> None:
    """Golden vectors are not read at a start: they are looked at where they are used."""
    golden = V2.blobs[2][0].digest
    for digest, bit in _places(V2, AT_REST):
        _flip(rig.store.blobs.path(digest), bit)
        rig.boot()
        assert _served(rig), f"nothing serves with bit {bit} of {digest[:8]} turned over"
        rest(rig)
        assert _loaded(rig) <= VERIFIED
        assert _served(rig) == [V2.assignment.artifact]
        if digest == golden:
            _flip(rig.store.blobs.path(digest), bit)
        assert all(_is_whole(rig, ref.digest) for ref, _ in V2.blobs), f"bit {bit} of {digest[:8]}"
        rig.cut()
    tried(f"{AT_REST} bits of the files that serve")


def test_a_file_that_rots_between_its_download_and_its_load_is_refused_and_fetched_again(
    base: Path, tried: Tried
) -> None:
    template = Rig(base / "template").boot()
    template.deploy(1, V1)
    template.conduct[V2.assignment.artifact] = Conduct(silent_at="load")
    template.publish(V2)
    template.want(2, V2)
    assert template.slot.state == "self-test"
    template.cut()
    for digest, bit in _places(V2, BEFORE_LOADING):
        shutil.rmtree(base / "state", ignore_errors=True)
        shutil.copytree(base / "template", base / "state")
        rig = Rig(base / "state")
        rig.retained = dict(template.retained)
        _flip(base / "state" / "blobs" / digest, bit)
        rig.boot()
        rest(rig)
        assert _loaded(rig) <= VERIFIED
        outcome = rig.slot.outcome
        assert outcome is not None
        assert (outcome.result, outcome.phase) == ("rejected", "self-test"), f"bit {bit} of {digest[:8]}: {outcome}"
        assert _served(rig) == [V1.assignment.artifact]
        assert rig.slot.quarantine == ()
        rig.want(3, V2)
        rest(rig)
        assert _served(rig) == [V2.assignment.artifact]
        rig.cut()
    tried(f"{BEFORE_LOADING} bits of a candidate's files")


def test_a_file_whose_digest_is_not_asked_for_is_loaded_with_its_rot(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(Blobs, "open_verified", lambda self, digest: os.open(self.path(digest), os.O_RDONLY))
    _flip(rig.store.blobs.path(V2.assignment.artifact), 1000)
    rig.boot()
    assert not _loaded(rig) <= VERIFIED
    rig.cut()


# The two copies of the record


def _copies(directory: Path) -> list[Path]:
    return [directory / "state.a", directory / "state.b"]


def test_a_bit_of_one_copy_of_the_record_leaves_the_other_one(rig: Rig, base: Path, tried: Tried) -> None:
    newest = max(_copies(base / "state"), key=lambda path: _sequence(path.read_bytes()))
    records = {path: _record(base, path) for path in _copies(base / "state")}
    count = 0
    for path in _copies(base / "state"):
        whole = path.read_bytes()
        expected = records[newest] if path != newest else next(records[other] for other in records if other != newest)
        for bit in _bits(whole):
            _flip(path, bit)
            store = Store(base / "state")
            assert (store.record, store.damaged_copies) == (expected, (path.name,)), f"bit {bit} of {path.name}"
            store.close()
            path.write_bytes(whole)
            count += 1
    tried(f"{count} bits of both copies, one at a time")


def test_an_agent_serves_on_and_mends_the_copy(rig: Rig, base: Path, tried: Tried) -> None:
    count = 0
    for path in _copies(base / "state"):
        for byte in range(0, len(path.read_bytes()), scaled(32, soak=1)):
            _flip(path, min(byte, len(path.read_bytes()) - 1) * 8 + byte % 8)
            rig.boot()
            assert _served(rig), f"byte {byte} of {path.name}"
            assert rig.events("started")[-1].reason == f"damaged copies of the state record: {path.name}"
            rest(rig)
            assert (rig.slot.state, _served(rig)) == ("running", [V2.assignment.artifact])
            for number in range(2):
                rig.store.save(rig.store.record.with_executed(f"{count}-{number}"))
            rig.cut()
            count += 1
    assert Store(base / "state").damaged_copies == ()
    tried(f"{count} starts")


def test_damage_of_both_copies_starts_empty_and_says_so(rig: Rig, base: Path, tried: Tried) -> None:
    chance = random.Random(1)
    shutil.copytree(base / "state", base / "template")
    for _ in range(BOTH_COPIES):
        shutil.rmtree(base / "state")
        shutil.copytree(base / "template", base / "state")
        for path in _copies(base / "state"):
            _flip(path, chance.randrange(len(path.read_bytes()) * 8))
        rig.boot(online=False)
        assert rig.slot.state == "empty"
        rig.link.connect()
        rest(rig)
        assert rig.events("started")[-1].reason == "damaged copies of the state record: state.a, state.b"
        assert _served(rig) == [V2.assignment.artifact]
        rig.cut()
    tried(f"{BOTH_COPIES} pairs of bits")


def test_a_record_without_its_checksum_is_believed_with_its_rot(
    rig: Rig, base: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    """The negative control."""
    whole = {path: path.read_bytes() for path in _copies(base / "state")}
    monkeypatch.setattr(record, "unpack", _unpack_without_looking)
    newest = max(_copies(base / "state"), key=lambda path: _sequence(path.read_bytes()))
    right, believed = _record(base, newest), 0
    for bit in range(record._HEADER.size * 8 + 32, len(whole[newest]) * 8, 101):
        _flip(newest, bit)
        store = Store(base / "state")
        believed += store.damaged_copies == () and store.record != right
        store.close()
        newest.write_bytes(whole[newest])
    tried(f"{believed} bits believed")
    assert believed


def _bits(whole: bytes) -> Iterator[int]:
    for byte in range(len(whole)):
        for number in range(BITS_OF_A_BYTE):
            yield byte * 8 + (byte + number) % 8


def _sequence(data: bytes) -> int:
    copy = record.unpack(data)
    assert copy is not None
    return copy.sequence


def _record(base: Path, path: Path) -> object:
    """What this copy holds."""
    alone = base / "alone"
    alone.mkdir(exist_ok=True)
    (alone / "state.a").write_bytes(path.read_bytes())
    return record.RecordFile(alone).load()


def _unpack_without_looking(data: bytes) -> record.Copy:
    _, record_format, sequence, _, _ = record._HEADER.unpack_from(data)
    return record.Copy(record_format, sequence, data[record._HEADER.size + record._CHECK.size :])
