"""Kills a store at every call that changes the disk, and looks at what a new one finds: `DIR two-copies|one-copy`.

A child process runs an agent, with a fake link and fake workers, from one version to the next and kills itself before
its N-th such call, or in the middle of it where it is a write. N grows until a child comes through. The parent then
starts an agent on what is left, which must serve at once and come to the new version, prints every N where it does
not, and at last the number of points.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cargo_hold import make_version
from tests.support.rig import Rig
from wherry.agent.adapters.store.record import RecordFile

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
    rig = Rig(directory).boot()
    rig.deploy(1, OLD)
    rig.cut()


def deploy(directory: Path) -> None:
    """What an agent does to the disk from its start to the end of an attempt."""
    Rig(directory).boot().deploy(2, NEW)


def problem(directory: Path) -> str | None:
    """What is wrong with a directory that was left at any point; None where it is as it may be."""
    rig = Rig(directory)
    try:
        rig.boot()
        if rig.store.record.generation not in (1, 2):
            return f"generation {rig.store.record.generation}"
        if not rig.yard.serving:
            return f"nothing serves in state {rig.slot.state}"
        rig.deploy(2, NEW)
        if (rig.slot.state, rig.slot.incumbent) != ("running", NEW.assignment.ref):
            return f"{rig.slot.incumbent} in state {rig.slot.state}"
    except Exception as error:  # noqa: BLE001  whatever it is, it is what the test wants to know
        return repr(error)
    finally:
        rig.cut()
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
