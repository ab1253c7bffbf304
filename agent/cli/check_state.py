"""Checks of the state directory: there, writable, room on the disk, both copies of the record, every blob's digest.

Read without the lock and without changing anything but for a file that is written and removed again.
"""

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from wherry.agent.adapters.metrics import disk_free_bytes
from wherry.agent.adapters.store.blobs import Blobs
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.cli.check import Check, fail, ok, warn
from wherry.agent.cli.show import mib
from wherry.agent.config import Config
from wherry.agent.core.record import DeviceRecord
from wherry.agent.errors import DamagedBlob, NewerFormat, StoreError


def check_state(config: Config) -> Iterator[Check]:
    directory = Path(config.state_dir)
    if not directory.is_dir():
        yield warn("state directory", f"{directory} does not exist", "the agent makes it at its first start")
        return
    yield _writable(directory)
    yield _space(directory, config.artifacts.disk_reserve_bytes)
    record = yield from _record(directory)
    if record is not None:
        yield from _blobs(directory, record)
        yield from _slots(record)


def _writable(directory: Path) -> Check:
    owner = directory.stat().st_uid
    if os.geteuid() not in (0, owner):
        return warn("state directory", f"{directory} is another user's", f"ask as its owner: sudo -u '#{owner}' …")
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fix = "mount the disk for writing, or make room; what is on it is served meanwhile"
        return fail("state directory", f"{directory} cannot be written: {error.strerror}", fix)
    return ok("state directory", f"{directory} can be written")


def _space(directory: Path, reserve_bytes: int) -> Check:
    free = disk_free_bytes(directory)
    if free <= reserve_bytes:
        says = f"{mib(free)} free, {mib(reserve_bytes)} are reserved: no new version can be fetched"
        return fail("disk space", says, "make room, or lower artifacts.disk_reserve_bytes")
    return ok("disk space", f"{mib(free)} free, {mib(reserve_bytes)} of it reserved")


def _record(directory: Path) -> Generator[Check, None, DeviceRecord | None]:
    """The checks of the record, and as value the record itself."""
    file = RecordFile(directory)
    try:
        record = file.load()
    except NewerFormat as error:
        yield fail("state record", str(error), "install that agent again, or use another state directory")
        return None
    except StoreError as error:
        yield fail("state record", str(error), "ask as root or as the agent's user; if it stays so, replace the card")
        return None
    if len(file.damaged) > (record is not None):
        yield fail(
            "state record", "no copy is readable", "the agent starts empty; its controller gives it its versions"
        )
    elif file.damaged:
        fix = "nothing to do: the other copy counts, and this one is written next. Happens again: replace the card"
        yield warn("state record", f"{file.damaged[0]} is damaged", fix)
    elif record is None:
        yield ok("state record", "none yet: this device was told nothing so far")
    else:
        yield ok("state record", f"both copies readable, start {record.boots}")
    return record


def _blobs(directory: Path, record: DeviceRecord) -> Iterator[Check]:
    """Every file that a slot names, verified: what a flipped bit on a worn card looks like."""
    blobs, wrong, right = Blobs(directory / "blobs"), [], 0
    served = {
        digest for slot in record.slots.values() for ref in slot.refs() for digest in (ref.manifest, ref.artifact)
    }
    for digest in sorted(served):
        try:
            os.close(blobs.open_verified(digest))
        except DamagedBlob:
            wrong.append(f"{digest[:12]} is damaged")
        except StoreError:
            continue  # on its way, or given up: the slot's own line tells
        else:
            right += 1
    if wrong:
        yield fail(
            "files of versions", ", ".join(wrong), "start the agent again: it fetches them anew, if it reaches them"
        )
    else:
        yield ok("files of versions", f"{right} verified")


def _slots(record: DeviceRecord) -> Iterator[Check]:
    for name, slot in record.slots.items():
        if slot.state == "safe-mode":
            fix = "roll out a version that works, or `wherry-agent reset --slot " + name + "`"
            yield fail(f"slot {name}", "in safe mode: neither its version nor the last good one runs", fix)
        elif slot.outcome is not None and slot.outcome.result != "committed":
            yield warn(f"slot {name}", f"{slot.outcome.ref} was {slot.outcome.result}: {slot.outcome.reason}")
        else:
            yield ok(f"slot {name}", f"{slot.state}" + (f", serves {slot.serving}" if slot.serving else ""))
