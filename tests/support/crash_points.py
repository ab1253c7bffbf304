"""Kills a store at every call that changes the disk, and looks at what a new one finds: `DIR two-copies|one-copy`.

A child process takes a store from one version to the next and kills itself before its N-th such call, or in the
middle of it where it is a write. N grows until a child comes through. The parent then opens the directory and
prints every N whose outcome is not allowed, and at last the number of points.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cargo_hold import make_version
from wherry.agent.adapters.store import Store
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.core.record import DeviceRecord, SlotRecord
from wherry.protocol.blob import split

OLD, NEW = make_version(1), make_version(2)
CALLS = ("open", "pwrite", "ftruncate", "fsync", "rename", "replace", "unlink", "chmod")


class Killer:
    """Counts calls and kills this process at one of them; `torn` does half of a write first."""

    def __init__(self, at: int, *, torn: bool) -> None:
        self._at, self._torn, self._count = at, torn, 0

    def arm(self) -> None:
        for name in CALLS:
            setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self._count += 1
            if self._count == self._at:
                if self._torn and call.__name__ == "pwrite":
                    handle, data, offset = arguments
                    call(handle, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted


def prepare(directory: Path) -> None:
    store = Store(directory)
    for _, data in OLD.blobs:
        store.blobs.put(data)
    for generation in (1, 2):
        store.save(DeviceRecord(generation=generation, slots={"main": SlotRecord(incumbent=OLD.assignment.ref)}))
    store.close()


def deploy(directory: Path) -> None:
    """What an agent does to the disk from a download to the end of its attempt."""
    store = Store(directory)
    for ref, data in NEW.blobs:
        part = store.parts.open(ref)
        for index, block in enumerate(split(data)):
            part.write(index, block)
        part.close()
        store.blobs.adopt(part.path, ref.digest)
    store.events.add(b"event")
    refs = {"incumbent": NEW.assignment.ref, "last_good": OLD.assignment.ref}
    store.save(DeviceRecord(generation=3, slots={"main": SlotRecord(**refs)}))
    store.collect_garbage()
    store.save(DeviceRecord(generation=4, slots={"main": SlotRecord(incumbent=NEW.assignment.ref)}))
    store.collect_garbage()


def problem(directory: Path) -> str | None:
    """What is wrong with a directory that was left at any point; None where it is as it may be."""
    store = Store(directory)
    try:
        if store.record.generation not in (2, 3, 4):
            return f"generation {store.record.generation}"
        for ref in store.record.slot("main").refs():
            store.blobs.read(ref.manifest)
            store.blobs.read(ref.artifact)
        store.collect_garbage()
        store.save(DeviceRecord(generation=9))
    except Exception as error:  # noqa: BLE001  whatever it is, it is what the test wants to know
        return repr(error)
    finally:
        store.close()
    return None


def survives(template: Path, directory: Path, at: int, *, torn: bool) -> tuple[bool, str | None]:
    """Whether the child came through, and what is wrong afterwards."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(template, directory)
    pid = os.fork()
    if pid == 0:
        Killer(at, torn=torn).arm()
        deploy(directory)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return status == 0, problem(directory)


def main(base: Path, kind: str) -> None:
    if kind == "one-copy":
        two = RecordFile.__init__

        def one(self: RecordFile, directory: Path) -> None:
            two(self, directory)
            self._paths = (directory / "state.a", directory / "state.a")

        RecordFile.__init__ = one  # type: ignore[method-assign]  # the negative control
    prepare(base / "template")
    points = 0
    for torn in (False, True):
        at, through = 0, False
        while not through:
            at, points = at + 1, points + 1
            through, wrong = survives(base / "template", base / "store", at, torn=torn)
            if wrong:
                print(f"killed at call {at} torn={torn}: {wrong}")  # noqa: T201  read by the test
    print(points)  # noqa: T201  read by the test


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
