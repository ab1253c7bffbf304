"""The store: two copies of the record, blobs, parts, events, the lock, and what is swept."""

import os
from pathlib import Path

import msgspec
import pytest

from tests.support.cargo_hold import hold, make_version
from wherry.agent.adapters.store import Store
from wherry.agent.adapters.store.record import FORMAT, RecordFile, pack, unpack
from wherry.agent.adapters.store.spool import Spool
from wherry.agent.core.record import Attempt, DeviceRecord, SlotRecord, Wish
from wherry.agent.errors import DamagedBlob, NewerFormat, StateDirInUse, StateDirUnusable, StoreError
from wherry.protocol.blob import describe, hash_list, parse_hash_list, split

DATA = bytes(range(256)) * 700
REF = describe(DATA)
HASHES = parse_hash_list(REF, hash_list(DATA))


def _record(generation: int) -> DeviceRecord:
    return DeviceRecord(epoch=1, generation=generation)


def _saved(directory: Path, *generations: int) -> None:
    file = RecordFile(directory)
    file.load()
    for generation in generations:
        file.save(_record(generation))


def test_the_newest_record_counts(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2, 3)
    assert RecordFile(tmp_path).load() == _record(3)


def test_a_whole_record_with_slots_comes_back(tmp_path: Path) -> None:
    assignment = make_version(1).assignment
    wish = Wish(assignment=assignment, epoch=1, generation=2)
    slot = SlotRecord(state="probation", incumbent=assignment.ref, attempt=Attempt(wish=wish, tries=2), wish=wish)
    record = DeviceRecord(slots={"main": slot}, executed=("a", "b"), boots=3)
    file = RecordFile(tmp_path)
    file.save(record)
    assert RecordFile(tmp_path).load() == record


def test_a_record_of_before_assignments_were_kept_is_read(tmp_path: Path) -> None:
    slot = SlotRecord(state="running", incumbent=make_version(1).assignment.ref)
    raw = msgspec.to_builtins(DeviceRecord(slots={"main": slot}))
    for name in ("assignments", "lost"):
        del raw["slots"]["main"][name]
    (tmp_path / "state.a").write_bytes(pack(1, msgspec.msgpack.encode(raw), record_format=1))
    assert RecordFile(tmp_path).load() == DeviceRecord(slots={"main": slot})


def test_with_any_one_byte_of_the_newest_copy_flipped_or_missing_the_one_before_counts(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2)
    newest = tmp_path / "state.b"
    good = newest.read_bytes()
    spoilt = [good[:i] + bytes([good[i] ^ 0x40]) + good[i + 1 :] for i in range(len(good))]
    spoilt += [good[:length] for length in range(len(good))]
    for data in spoilt:
        newest.write_bytes(data)
        file = RecordFile(tmp_path)
        assert file.load() == _record(1)
        assert file.damaged == ("state.b",)
    assert len(spoilt) > 120


def test_without_a_checksum_flipped_bytes_would_be_believed() -> None:
    """The negative control: the same bytes, judged by length and magic alone."""
    good = pack(1, b"payload")
    copy = unpack(good)
    assert copy is not None
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    assert flipped[:8] == good[:8]
    assert len(flipped) == len(good)
    assert unpack(flipped) is None


def test_saving_goes_on_after_a_damaged_copy(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2)
    (tmp_path / "state.b").write_bytes(b"torn")
    _saved(tmp_path, 3)
    assert RecordFile(tmp_path).load() == _record(3)
    (tmp_path / "state.b").write_bytes(b"torn again")
    assert RecordFile(tmp_path).load() == _record(1)


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    newer = pack(9, b"whatever", record_format=FORMAT + 1)
    (tmp_path / "state.a").write_bytes(newer)
    said = f"state of format {FORMAT + 1} was written by a newer agent, this one knows {FORMAT}"
    with pytest.raises(NewerFormat, match=said):
        Store(tmp_path)
    assert (tmp_path / "state.a").read_bytes() == newer


def test_both_copies_damaged_is_a_fresh_start_that_says_so(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2)
    for name in ("state.a", "state.b"):
        (tmp_path / name).write_bytes(b"")
    store = Store(tmp_path)
    assert store.record == DeviceRecord()
    assert store.damaged_copies == ("state.a", "state.b")


def test_copies_that_the_disk_does_not_give_are_not_taken_for_lost(tmp_path: Path) -> None:
    """A failing read may succeed at the next start; starting empty would write over what is there."""
    for name in ("state.a", "state.b"):
        (tmp_path / name).mkdir()
    with pytest.raises(StateDirUnusable, match="reading the state record: Is a directory"):
        Store(tmp_path)


def test_a_copy_that_the_disk_does_not_give_counts_as_damaged_beside_a_valid_one(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.save(DeviceRecord(generation=1))
    (tmp_path / "state.b").mkdir()
    again = RecordFile(tmp_path)
    assert again.load() == DeviceRecord(generation=1)
    assert again.damaged == ("state.b",)


def test_a_second_agent_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StateDirInUse):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirUnusable, match="Not a directory"):
        Store(tmp_path / "file" / "state")


def test_an_unchanged_record_is_not_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(_record(1))
    before = (tmp_path / "state.a").stat().st_mtime_ns
    store.save(_record(1))
    assert (tmp_path / "state.a").stat().st_mtime_ns == before
    assert not (tmp_path / "state.b").exists()


def test_blobs_are_read_only_and_verified_when_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = hold(store, b"cargo")
    with os.fdopen(store.blobs.open_verified(digest), "rb") as file:
        assert file.read() == b"cargo"
    path = store.blobs.path(digest)
    assert path.stat().st_mode & 0o777 == 0o444
    path.chmod(0o644)
    path.write_bytes(b"cargO")
    with pytest.raises(DamagedBlob):
        store.blobs.read(digest)
    with pytest.raises(DamagedBlob):
        store.blobs.open_verified(digest)
    store.blobs.discard(digest)
    with pytest.raises(StoreError, match="No such file"):
        store.blobs.read(digest)


def test_a_part_remembers_its_blocks_by_their_hashes_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    blocks = split(DATA)
    part = store.parts.open(REF)
    part.write(0, blocks[0])
    part.write(2, blocks[2])
    part.close()
    again = store.parts.open(REF)
    assert again.verified(HASHES) == 0b101
    os.truncate(again.path, 10)
    os.truncate(again.path, REF.size_bytes)
    assert again.verified(HASHES) == 0
    again.close()


def test_a_new_part_is_not_read_and_one_that_was_left_is(tmp_path: Path) -> None:
    """Of a blob of zeros the holes of a part are the right bytes, so reading would show."""
    zeros = bytes(100_000)
    ref, store = describe(zeros), Store(tmp_path)
    hashes = parse_hash_list(ref, hash_list(zeros))
    new = store.parts.open(ref)
    assert new.verified(hashes) == 0
    new.write(1, split(zeros)[1])
    assert new.verified(hashes) == 0b11
    new.close()
    left = store.parts.open(ref)
    assert left.verified(hashes) == 0b11
    left.close()


def test_a_whole_part_becomes_a_blob(tmp_path: Path) -> None:
    store = Store(tmp_path)
    part = store.parts.open(REF)
    for index, block in reversed(list(enumerate(split(DATA)))):
        assert not part.is_whole()
        part.write(index, block)
    assert part.is_whole()
    part.close()
    store.blobs.adopt(part.path, REF.digest)
    assert store.blobs.read(REF.digest) == DATA
    assert not part.path.exists()


def test_garbage_is_all_that_no_slot_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    versions = [make_version(number) for number in range(1, 5)]
    for version in versions:
        for _, data in version.blobs:
            hold(store, data)
    store.parts.open(describe(b"x" * 100_000)).close()
    (tmp_path / "blobs" / "left.tmp").write_bytes(b"torn")
    incumbent, last_good, candidate, _ = (version.assignment.ref for version in versions)
    wish = Wish(assignment=versions[2].assignment, epoch=1, generation=1)
    slot = SlotRecord(state="verify", incumbent=incumbent, last_good=last_good, wish=wish, attempt=Attempt(wish=wish))
    store.save(DeviceRecord(slots={"main": slot}))
    assert store.collect_garbage() == 5
    kept = {ref.digest for version in versions[:3] for ref, _ in version.blobs}
    assert {path.name for path in (tmp_path / "blobs").iterdir()} == kept
    assert candidate.artifact in kept


def test_events_stay_in_order_over_a_restart_until_they_are_taken(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(3):
        spool.add(b"event %d" % number)
    spool.remove(1)
    (tmp_path / "000000000009.tmp").write_bytes(b"torn")
    again = Spool(tmp_path)
    assert [again.read(number) for number in again.numbers()] == [b"event 0", b"event 2"]
    again.add(b"next")
    assert again.numbers(after=0) == [2, 3]


def test_a_full_spool_drops_what_only_explains_before_outcomes_also_after_a_restart(tmp_path: Path) -> None:
    kinds = ["committed", "block-damaged", "action-done", "transition", "reverted", "error"]
    for kind in kinds:
        Spool(tmp_path).add(b'{"type":"event","kind":"%s"}' % kind.encode())
    spool, dropped = Spool(tmp_path, max_events=5), []
    for _ in range(6):
        before = set(spool.numbers())
        assert spool.add(b'{"kind":"committed"}') >= 1
        dropped += sorted(before - set(spool.numbers()))
    assert [number for number in dropped if number < len(kinds)] == [1, 3, 5, 0, 2, 4]
    assert len(spool) == len(list(tmp_path.iterdir())) == 5


def test_a_full_spool_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_events=3)
    assert [spool.add(b"%d" % number) for number in range(5)] == [0, 0, 0, 1, 1]
    assert [spool.read(number) for number in spool.numbers()] == [b"2", b"3", b"4"]
    assert len(spool) == len(list(tmp_path.iterdir())) == 3
