"""Kills an agent at each system call of a voyage: `DIR COURSE [SABOTAGE PATH]` prints what came of it as JSON.

A child process sails (see `update_voyage`) and is killed before its N-th call that touches the directory or a socket,
and in the middle of it where it is a write. N grows until a child comes through. After each kill an agent is started on
what is left. Of the other courses only what is not as in the good one is gone through, and of a sinking one, which is
long, one call in three; except under `make soak`.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Literal

import msgspec

from tests.support.soak import scaled
from tests.support.syscall_points import CHANGING, ON_SOCKETS, WRITES, Answer, Call, watched
from tests.support.update_voyage import Course, history, look, sail
from tests.support.wire import Wire
from wherry.agent.adapters.store import blobs, record, spool

WATCHED = CHANGING + ON_SOCKETS
STRIDES: dict[Course, int] = {"sinking": scaled(3, soak=1)}
How = Literal["kill", "tear"]


class Point(msgspec.Struct, frozen=True):
    """One kill: at which call, what state was on disk then, and what was wrong afterwards."""

    call: Call
    how: How
    state: str
    problem: str | None


class Cutter:
    """Sails again and again from an empty directory, and cuts the voyage short."""

    def __init__(self, base: Path, course: Course) -> None:
        self._directory, self._course, self._wire = base / "state", course, Wire(base / f"wire-{course}")
        self._voyage = partial(sail, self._directory, course, self._wire.tell, reach=self._wire.reach)
        self.calls: list[Call] = []
        self._run(lambda call: self.calls.append(call) or "go")  # type: ignore[func-returns-value]
        self._records = history(self._wire.told)

    def cut(self, at: Call, how: How) -> Point:
        """Kill at one call, and look at what is left."""
        self._run(lambda call: how if call.number == at.number else "go", ends_with=-9)
        found = look(self._directory, self._course, self._wire.told, self._records)
        return Point(at, how, found.state, found.problem)

    def close(self) -> None:
        self._wire.close()

    def _run(self, decide: Callable[[Call], Answer], ends_with: int = 0) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._wire.told.clear()
        status = watched(self._voyage, self._directory, WATCHED, decide, self._wire.hear, self._wire.receiver)
        assert status == ends_with, f"the child ended with {status}, not {ends_with}"


def points(base: Path, course: Course, about: str = "") -> Iterator[Point]:
    """At the calls on paths that begin with `about`."""
    cutter = Cutter(base, course)
    calls = cutter.calls[scaled(_shared(base, cutter, course), soak=0) :]
    concerned = [call for call in calls if call.path.startswith(about)]
    for call in concerned[:: STRIDES.get(course, 1)]:
        yield cutter.cut(call, "kill")
        if call.name in WRITES:
            yield cutter.cut(call, "tear")
    cutter.close()


def _shared(base: Path, cutter: Cutter, course: Course) -> int:
    """How many calls are those of the good course."""
    if course == "good":
        return 0
    good = Cutter(base, "good")
    good.close()
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(good.calls, cutter.calls, strict=False)))


def sabotage(kind: str) -> None:
    """The negative controls: a store that was built carelessly."""
    if kind == "one-copy":
        two = record.RecordFile.__init__

        def one(self: record.RecordFile, directory: Path) -> None:
            two(self, directory)
            self._paths = (directory / "state.a", directory / "state.a")

        _replace(record.RecordFile, "__init__", one)
    elif kind == "events-in-memory":
        kept: dict[str, bytes] = {}
        _replace(spool, "write_new", lambda path, data: kept.update({path.name: data}))
        _replace(spool.Spool, "read", lambda self, number: kept[self._path(number).name])
    elif kind == "blobs-in-place":
        _replace(blobs.Blobs, "adopt", _write_in_place)
        _replace(blobs.Blobs, "open_verified", _open_as_it_is)


def _replace(owner: object, name: str, value: object) -> None:
    """Raises AttributeError where there is nothing of the name any more: that sabotage would take nothing away."""
    getattr(owner, name)
    setattr(owner, name, value)


def _write_in_place(self: blobs.Blobs, part: Path, digest: str) -> None:
    self.path(digest).write_bytes(part.read_bytes())
    part.unlink()


def _open_as_it_is(self: blobs.Blobs, digest: str) -> int:
    return os.open(self.path(digest), os.O_RDONLY)


def main(base: str, course: Course, kind: str = "", about: str = "") -> None:
    sabotage(kind)
    sys.stdout.buffer.write(msgspec.json.encode(list(points(Path(base), course, about))))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
