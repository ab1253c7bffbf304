"""Power lost at any block that a voyage writes: `DIR COURSE IMAGES [SABOTAGE]` prints what came of it as JSON.

`lose_power` runs it in a mount namespace of its own. A voyage is sailed on ext4 whose blocks are logged (see
`block_log`). The log is then played back into images of what a disk may hold when the power fails:

    prefix   everything up to some write, in the order in which it was issued
    torn     as before, and some sectors of that write
    dropped  everything up to the last flush, and any of the writes since, half of them torn

Each image is mounted, which replays the journal, and an agent is started on it.
"""

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from tests.support.block_log import NAME, Entry, entries, open_log, pack
from tests.support.kill_points import sabotage
from tests.support.loop_disk import NoLoopDisk, in_own_namespace, loop_device, make_ext4, mounted, tool, try_out
from tests.support.update_voyage import Course, Told, history, look, sail
from tests.support.wait import wait_until
from wherry.agent.core.record import DeviceRecord

DISK_MIB = 12
SECTOR_BYTES = 512
SUPERBLOCK_END = 4096
"""Ext4's own superblock has two sectors under one checksum. Torn, it takes e2fsck and a copy, before there is a disk
that an agent could do anything about; so it is written whole here."""

PATIENCE = 4
"""So many tries for each image that differs from those of the same moment: a small write can be lost in few ways."""
Kind = Literal["prefix", "torn", "dropped"]
KINDS: tuple[Kind, ...] = ("prefix", "torn", "dropped")


class Outcome(msgspec.Struct, frozen=True):
    """What one image came to: power was lost at the write with this number."""

    write: int
    kind: Kind
    state: str
    problem: str | None


def record(base: Path, course: Course) -> None:
    """Sail on a disk that logs; leaves `base.img` and `blocks.log`. Marks are what the agent was promised."""
    make_ext4(base / "base.img", DISK_MIB, "-b", "4096")
    (base / "work.img").write_bytes((base / "base.img").read_bytes())
    log = base / "blocks.log"
    marks = open_log(log)
    with logging_disk(base / "work.img", log, base) as disk:
        sail(disk / "state", course, partial(_mark, marks))
    os.close(marks)


@contextmanager
def logging_disk(image: Path, log: Path, base: Path) -> Iterator[Path]:
    """Where the file system of the image is mounted meanwhile. Raises NoLoopDisk."""
    under = base / "under"
    under.mkdir(exist_ok=True)
    unmount = tool("fusermount3")
    server = subprocess.Popen([sys.executable, "-m", "tests.support.block_log", str(under), str(image), str(log)])
    try:
        wait_until(lambda: (under / NAME).exists() or server.poll() is not None, "the logging disk is there")
        if not (under / NAME).exists():
            raise NoLoopDisk("there is no FUSE: see what it said above")
        with loop_device(under / NAME) as device, mounted(device, base / "disk"):
            yield base / "disk"
    finally:
        subprocess.run([unmount, "-u", str(under)], check=False, stderr=subprocess.DEVNULL)
        server.wait(20)


def why_not(base: Path) -> str | None:
    """Why power cannot be lost here: a trial, for what a machine allows cannot be told by looking."""
    try:
        try_out()
        make_ext4(base / "trial.img", DISK_MIB)
        tool("fusermount3")
    except NoLoopDisk as error:
        return str(error)
    command = [sys.executable, "-m", "tests.support.power_loss", str(base), "try"]
    done = subprocess.run(in_own_namespace(command), capture_output=True, text=True)
    return None if done.returncode == 0 else f"no logging disk: {done.stderr.strip()[-300:]}"


def lose_power(base: Path, course: Course, wanted: int, kind: str = "") -> list[Outcome]:
    """Sail and replay, in a process and a namespace of their own."""
    base.mkdir()
    command = [sys.executable, "-m", "tests.support.power_loss", str(base), course, str(wanted), kind]
    found = subprocess.run(in_own_namespace(command), check=True, stdout=subprocess.PIPE).stdout
    return msgspec.json.decode(found, type=list[Outcome])


def _mark(log: int, kind: str, data: bytes) -> None:
    os.write(log, pack("mark", data=kind.encode() + b" " + data))


def told_by(marks: list[Entry]) -> Told:
    return [(kind.decode(), data) for kind, _, data in (mark.data.partition(b" ") for mark in marks)]


class Disk:
    """Holds one image after another, behind a loop device that stays."""

    def __init__(self, image: Path) -> None:
        self._handle = os.open(image, os.O_RDWR | os.O_CREAT, 0o600)

    def hold(self, content: bytes | bytearray, writes: list[Entry]) -> None:
        """`content` with some writes on top."""
        os.pwrite(self._handle, content, 0)
        for entry in writes:
            os.pwrite(self._handle, entry.data, entry.offset)

    def close(self) -> None:
        os.close(self._handle)


def replay(base: Path, course: Course, wanted: int) -> Iterator[Outcome]:
    """Try about `wanted` images that differ, spread evenly over the log."""
    log = list(entries(base / "blocks.log"))
    empty = (base / "base.img").read_bytes()
    records = history(told_by([entry for entry in log if entry.kind == "mark"]))
    writes = sum(entry.kind == "write" for entry in log)
    disk, done = Disk(base / "crash.img"), 0
    disk.hold(empty, [])
    with loop_device(base / "crash.img") as device:
        for moment in moments(log, bytearray(empty)):
            for kind, arrived in moment.losses(round(moment.write * wanted / writes) - done):
                done += 1
                disk.hold(moment.stable, arrived)
                yield Outcome(moment.write, kind, *_find(device, base / "crash", course, moment.told, records))
    disk.close()


def _find(
    device: str, directory: Path, course: Course, told: Told, records: list[DeviceRecord]
) -> tuple[str, str | None]:
    try:
        with mounted(device, directory):
            found = look(directory / "state", course, told, records)
    except OSError as error:
        return "?", f"the disk cannot be mounted: {error}"
    return found.state, found.problem


class Moment:
    """The power fails at one write: what was flushed before, what is pending, and what was promised."""

    def __init__(self, write: int, stable: bytearray, pending: list[Entry], told: Told) -> None:
        self.write, self.stable, self.pending, self.told = write, stable, pending, told
        self._chance = random.Random(write)

    def losses(self, wanted: int) -> Iterator[tuple[Kind, list[Entry]]]:
        """So many different ones, or as many as chance finds; the kinds take turns."""
        seen: set[tuple[tuple[int, int], ...]] = set()
        turns = itertools.islice(itertools.cycle(KINDS), self.write % 3, self.write % 3 + PATIENCE * wanted)
        for kind in turns:
            arrived = self._arrived(kind)
            key = tuple((entry.offset, len(entry.data)) for entry in arrived)
            if key not in seen and len(seen) < wanted:
                seen.add(key)
                yield kind, arrived

    def _arrived(self, kind: Kind) -> list[Entry]:
        *before, last = self.pending
        if kind == "prefix":
            return before
        if kind == "torn":
            return [*before, *self._torn(last)]
        kept = [entry for entry in self.pending if self._chance.random() < 0.5]
        return [part for entry in kept for part in ([entry] if self._chance.random() < 0.5 else self._torn(entry))]

    def _torn(self, entry: Entry) -> list[Entry]:
        """The first sectors of a write, or any of them: a disk writes a sector whole, and promises no order."""
        if entry.offset < SUPERBLOCK_END:
            return [entry]
        count = max(1, len(entry.data) // SECTOR_BYTES)
        some = range(self._chance.randrange(count))
        if self._chance.random() < 0.5:
            some = [number for number in range(count) if self._chance.random() < 0.5]
        return [_sector(entry, number * SECTOR_BYTES) for number in some]


def _sector(entry: Entry, start: int) -> Entry:
    return Entry("write", entry.offset + start, entry.data[start : start + SECTOR_BYTES])


def moments(log: list[Entry], stable: bytearray) -> Iterator[Moment]:
    """One at each write."""
    pending: list[Entry] = []
    told: Told = []
    count = 0
    for entry in log:
        if entry.kind == "mark":
            told += told_by([entry])
        elif entry.kind == "flush":
            for done in pending:
                stable[done.offset : done.offset + len(done.data)] = done.data
            pending = []
        else:
            pending = [*pending, entry]
            count += 1
            yield Moment(count, stable, pending, list(told))


def main(base: str, course: str, wanted: str = "0", kind: str = "") -> None:
    if course == "try":
        with logging_disk(Path(base) / "trial.img", Path(base) / "trial.log", Path(base)):
            return
    if kind == "no-fsync":
        os.fsync = lambda handle: None
    sabotage(kind)
    record(Path(base), course)  # type: ignore[arg-type]
    os.fsync = lambda handle: None  # what is started on the images loses no power
    found = list(replay(Path(base), course, int(wanted)))  # type: ignore[arg-type]
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
