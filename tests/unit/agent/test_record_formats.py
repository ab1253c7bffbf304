"""Records of older formats: each released one is read for ever, and a cut in the migration loses nothing."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conftest import Tried
from tests.support.rig import Rig
from wherry.agent.adapters.store.record import FORMAT, MIGRATIONS, RecordFile, decode, pack, unpack
from wherry.agent.core.record import DeviceRecord

GOLDEN = Path(__file__).parents[2] / "golden" / "state"
RELEASED = sorted(GOLDEN.glob("format-*.bin"))


def _says(record: DeviceRecord, said: Any) -> bool:
    """Whether `record` holds all that an older one said; what was added since is not looked at."""

    def holds(new: Any, old: Any) -> bool:
        if isinstance(old, dict):
            return all(key in new and holds(new[key], value) for key, value in old.items())
        if isinstance(old, list):
            return len(new) == len(old) and all(map(holds, new, old))
        return bool(new == old)

    return holds(json.loads(msgspec.json.encode(record)), said)


def test_every_older_format_has_a_golden_record_and_a_migration() -> None:
    older = list(range(1, FORMAT))
    assert sorted(MIGRATIONS) == older
    assert {f"format-{number}.bin" for number in older} <= {path.name for path in RELEASED}


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_a_released_record_says_what_it_said(path: Path) -> None:
    copy = unpack(path.read_bytes())
    assert copy is not None
    record = decode(copy)
    assert record is not None
    assert _says(record, json.loads(path.with_suffix(".json").read_text()))
    assert {slot.state for slot in record.slots.values()} == {"probation", "safe-mode", "empty"}


def test_a_record_of_format_1_counts_no_unsteady_starts_and_knows_no_time() -> None:
    copy = unpack((GOLDEN / "format-1.bin").read_bytes())
    assert copy is not None
    record = decode(copy)
    assert record is not None
    assert (record.unsteady_boots, record.handling, record.floor_s) == (0, None, 0.0)


def test_without_its_migration_a_record_is_damaged_and_not_misread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    copy = unpack((GOLDEN / "format-1.bin").read_bytes())
    assert copy is not None
    monkeypatch.delitem(MIGRATIONS, 1)
    assert decode(copy) is None


@pytest.mark.slow
def test_a_migration_cut_anywhere_leaves_the_old_record_or_the_new_one(tmp_path: Path, tried: Tried) -> None:
    old = (GOLDEN / "format-1.bin").read_bytes()
    (tmp_path / "state.a").write_bytes(old)
    file = RecordFile(tmp_path)
    migrated = file.load()
    assert migrated is not None
    file.save(migrated.booted())
    assert (tmp_path / "state.a").read_bytes() == old, "the other copy is written"
    whole = (tmp_path / "state.b").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "state.b").write_bytes(whole[:length])
        assert RecordFile(tmp_path).load() == migrated
    (tmp_path / "state.b").write_bytes(whole)
    assert RecordFile(tmp_path).load() == migrated.booted()
    tried(f"{len(whole) + 1} cuts of the first save after a migration")


def test_a_valid_copy_that_holds_no_record_is_damaged_and_the_other_one_counts(tmp_path: Path) -> None:
    """It would be a bug of ours; an agent that does not start for it would be a worse one."""
    file = RecordFile(tmp_path)
    file.save(DeviceRecord(generation=5))
    (tmp_path / "state.b").write_bytes(pack(9, msgspec.msgpack.encode({"generation": "seven"})))
    file = RecordFile(tmp_path)
    assert file.load() == DeviceRecord(generation=5)
    assert file.damaged == ("state.b",)
    file.save(DeviceRecord(generation=6))
    assert RecordFile(tmp_path).load() == DeviceRecord(generation=6)


def test_an_agent_goes_on_from_a_record_of_format_1(tmp_path: Path) -> None:
    """Its files are not there, so that all there is to see is that nothing fails and nothing is forgotten."""
    (tmp_path / "state.b").write_bytes((GOLDEN / "format-1.bin").read_bytes())
    rig = Rig(tmp_path).boot()
    rig.wait(5)
    assert (rig.store.record.epoch, rig.store.record.generation, rig.store.record.boots) == (2, 17, 42)
    assert rig.slot.quarantine
    rig.cut()
    copies = [copy for name in ("state.a", "state.b") if (copy := unpack((tmp_path / name).read_bytes()))]
    assert max(copies, key=lambda copy: copy.sequence).format == FORMAT
