"""A backup of a controller at work, and what a controller is that was made of one."""

import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from wherry.controller.adapters import backup_file
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.core.plan import FULL_FLEET, WaveStep
from wherry.controller.errors import Invalid, Unavailable
from wherry.controller.operations import audit, backup, rollouts

pytestmark = pytest.mark.slow

HOUR_S = 3600.0
NOW_S = 1_800_000_000.0


class Place:
    """A data directory with a database, artifacts and two boards."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.artifacts = ArtifactStore(directory / "artifacts")
        self.depot = Depot(directory / "controller.db")
        self.depot.now_s = NOW_S
        self.depot.keep = self.artifacts.put  # type: ignore[method-assign]

    def fill(self) -> None:
        for salt in ("a", "b"):
            for what in ("artifact", "golden"):
                self.artifacts.put(f"{what} {salt} int8".encode())
            self.depot.version(salt)
        for device in ("pi-1", "pi-2"):
            self.depot.device(device)

    def roll_out(self, version: int, *devices: str) -> int:
        """Until all of them have committed it."""
        rollout = self.begin(version)
        self.depot.commit(*devices)
        self.tick()
        assert rollouts.get_rollout(self.depot.db, rollout).state == "completed"
        return rollout

    def begin(self, version: int, **more: object) -> int:
        plan = make_plan(version, **({"waves": FULL_FLEET, "soak_s": 0.0, "min_inferences": 0} | more))
        return rollouts.start(self.depot.db, plan, now_s=self.depot.now_s, actor="ann").id

    def tick(self) -> None:
        rollouts.tick(self.depot.db, now_s=self.depot.now_s)

    def back_up(self, name: str = "backup.tar") -> Path:
        target = self.directory.parent / name
        backup_file.take(self.depot.path, self.directory / "artifacts", target, now_s=NOW_S)  # type: ignore[arg-type]
        return target


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "data")
    place.fill()
    yield place
    place.depot.db.close()


Restore = Callable[..., Depot]


@pytest.fixture
def restore(tmp_path: Path) -> Iterator[Restore]:
    opened: list[Depot] = []

    def restored(file: Path, name: str = "new", now_s: float = NOW_S + HOUR_S) -> Depot:
        def prepare(path: Path) -> None:
            depot = Depot(path)
            backup.take_over(depot.db, now_s=now_s, actor="ann")
            depot.db.close()

        backup_file.restore(file, tmp_path / name, prepare)
        opened.append(Depot(tmp_path / name / "controller.db"))
        opened[-1].now_s = now_s
        return opened[-1]

    yield restored
    for depot in opened:
        depot.db.close()


def test_a_restored_controller_has_everything_and_orders_it_in_an_epoch_that_no_device_has_seen(
    place: Place, restore: Restore, tmp_path: Path
) -> None:
    place.roll_out(1, "pi-1", "pi-2")
    file = place.back_up()
    place.roll_out(2, "pi-1", "pi-2")
    newest = place.depot.desired("pi-1")
    depot = restore(file)
    wanted = depot.desired("pi-1")
    assert [str(slot.ref) for slot in wanted.slots] == ["digits:1"]
    assert (wanted.epoch, wanted.generation) > (newest.epoch, newest.generation)
    names = sorted(path.name for path in (tmp_path / "new" / "artifacts").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "data" / "artifacts").iterdir())
    assert audit.list_audit(depot.db)[0].action == "backup-restored"


def test_the_same_backup_restored_a_second_time_is_obeyed_again(place: Place, restore: Restore) -> None:
    """Counted on from the backup, both would be of epoch 2, and the second would be ignored."""
    place.roll_out(1, "pi-1", "pi-2")
    file = place.back_up()
    orders = []
    for number in range(3):
        depot = restore(file, f"new-{number}", NOW_S + number * HOUR_S)
        wanted = depot.desired("pi-1")
        orders.append((wanted.epoch, wanted.generation))
    assert orders == sorted(set(orders))


def test_a_rollout_that_was_under_way_waits_for_an_operator_and_then_goes_on(place: Place, restore: Restore) -> None:
    waves = (WaveStep(amount=1), WaveStep(amount=100, percent=True))
    rollout = place.begin(2, waves=waves)
    file = place.back_up()
    depot = restore(file)
    found = rollouts.get_rollout(depot.db, rollout)
    assert (found.state, found.reason) == ("paused", backup.PAUSED)
    (first,) = [entry.device for entry in found.devices if entry.wave == 1]
    depot.commit(first)
    rollouts.tick(depot.db, now_s=depot.now_s)
    found = rollouts.get_rollout(depot.db, rollout)
    assert (found.state, found.wave) == ("paused", 1)
    assert {entry.device: entry.standing for entry in found.devices}[first] == "committed", "it is still told"


def test_what_was_being_taken_back_goes_on_being_taken_back(place: Place, restore: Restore) -> None:
    place.roll_out(1, "pi-1", "pi-2")
    rollout = place.begin(2)
    rollouts.abort(place.depot.db, rollout, restore="revert", now_s=NOW_S, actor="ann")
    depot = restore(place.back_up())
    assert rollouts.get_rollout(depot.db, rollout).state == "reverting"
    depot.commit("pi-1", "pi-2")
    rollouts.tick(depot.db, now_s=depot.now_s)
    assert rollouts.get_rollout(depot.db, rollout).state == "aborted"


def test_a_backup_is_of_one_moment_while_the_controller_writes(place: Place, tmp_path: Path) -> None:
    """A transaction that is under way is not in it, and does not hold it up."""
    with place.depot.db.write() as session:
        session.connection().exec_driver_sql("UPDATE devices SET presence = 'half'")
        file = place.back_up()
    with tarfile.open(file) as tar:
        tar.extract("controller.db", tmp_path / "out", filter="data")
    copy = sqlite3.connect(tmp_path / "out" / "controller.db")
    assert copy.execute("SELECT DISTINCT presence FROM devices").fetchall() == [("online",)]
    copy.close()


def test_a_backup_that_fails_leaves_nothing_and_none_is_overwritten(place: Place, tmp_path: Path) -> None:
    file = place.back_up()
    with pytest.raises(Invalid, match="is there already"):
        place.back_up()
    victim = next(path for path in (tmp_path / "data" / "artifacts").iterdir() if len(path.name) == 64)
    victim.unlink()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(Unavailable, match=victim.name):
        place.back_up("other.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert file.is_file()


def test_an_artifact_that_the_disk_has_damaged_is_found_when_the_backup_is_taken(place: Place, tmp_path: Path) -> None:
    victim = next(path for path in (tmp_path / "data" / "artifacts").iterdir() if len(path.name) == 64)
    victim.write_bytes(b"rotten")
    with pytest.raises(Invalid, match="is damaged"):
        place.back_up()
    assert not (tmp_path / "backup.tar").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_backup_that_is_cut_short_is_refused_and_nothing_is_left(
    place: Place, restore: Restore, tmp_path: Path, share: float
) -> None:
    file = place.back_up()
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Invalid, match=r"not a backup|lacks|is damaged"):
        restore(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "data"]


def test_a_backup_with_a_flipped_bit_is_refused(place: Place, restore: Restore, tmp_path: Path) -> None:
    file = place.back_up()
    data = bytearray(file.read_bytes())
    data[data.index(b"artifact a int8")] ^= 1
    file.write_bytes(data)
    with pytest.raises(Invalid, match="is damaged"):
        restore(file)
    assert not (tmp_path / "new").exists()


def test_only_an_empty_place_is_restored_into(place: Place, restore: Restore, tmp_path: Path) -> None:
    file = place.back_up()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "controller.db").touch()
    with pytest.raises(Invalid, match="is not empty"):
        restore(file)
    shutil.rmtree(tmp_path / "new")
    (tmp_path / "new").mkdir()
    restore(file)
