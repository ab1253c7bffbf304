"""Kills an upload at every call that changes the disk, and looks at what a new store finds: `DIR beside|in-place`.

Prints every point that left something else than the whole blob or none, and at last the number of points.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from wherry.controller.adapters.artifacts import ArtifactStore, Upload
from wherry.protocol.blob import describe, split

DATA = bytes(range(256)) * 800
REF = describe(DATA)
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


def upload(directory: Path) -> None:
    store = ArtifactStore(directory)
    with store.receive(REF.digest) as entering:
        for block in split(DATA):
            entering.write(block)
            os.fsync(entering._file.fileno())  # one point more, in the middle of the bytes
        entering.commit()
    store.ref(REF.digest)


def problem(directory: Path) -> str | None:
    """What is wrong with a directory that was left at any point; None where it is as it may be."""
    store = ArtifactStore(directory)
    if store.has(REF.digest) and store.path(REF.digest).read_bytes() != DATA:
        return f"half a blob, {store.path(REF.digest).stat().st_size} of {len(DATA)} bytes"
    unknown = {path.name for path in directory.iterdir()} - {REF.digest, f"{REF.digest}.hashes"}
    if unknown:
        return f"left behind: {unknown}"
    return None if store.put(DATA) == REF else "the upload cannot be done again"


def survives(directory: Path, at: int) -> tuple[bool, str | None]:
    """Whether the child came through, and what is wrong afterwards."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    pid = os.fork()
    if pid == 0:
        Killer(at, torn=False).arm()
        upload(directory)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return status == 0, problem(directory)


def write_in_place() -> None:
    """Make uploads write under the final name and leave it there, as they must not."""

    def enter(self: Upload) -> Self:
        self._file = (self._directory / self._name).open("w+b", buffering=0)
        return self

    Upload.__enter__ = enter  # type: ignore[method-assign]  # the negative control
    Upload.__exit__ = lambda self, *_: self._file.close()  # type: ignore[method-assign]


def main(base: Path, kind: str) -> None:
    if kind == "in-place":
        write_in_place()
    at, through = 0, False
    while not through:
        at += 1
        through, wrong = survives(base / "store", at)
        if wrong:
            print(f"killed at call {at}: {wrong}")  # noqa: T201  read by the test
    print(at - 1)  # noqa: T201  read by the test


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
