"""Lets system calls of an agent fail: `DIR COURSE STRIDE [SABOTAGE]` prints what came of it as JSON.

A child process sails as in `update_voyage`, but the disk fails it: one call alone, or all that can fail so from that
call on until the errors stop. Then the controller asks again. What must not happen: a traceback, an agent that serves
nothing although it did, an end other than the one that is wished, or something left behind.
"""

import errno
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from tests.support.cargo_hold import Version
from tests.support.fake_worker import FakeWorker
from tests.support.rig import Rig
from tests.support.syscall_points import CHANGING, OPENS, READING, WRITES, Answer, Call, watched
from tests.support.update_voyage import V1, V2, Course, Tell, converged, garbage, not_served, rest, take_on
from tests.support.wire import Wire
from wherry.agent.adapters.store import blobs, parts, spool
from wherry.agent.errors import SetupError, StoreError
from wherry.agent.slot_runner import SlotRunner

WATCHED = CHANGING + READING
GROWING = (*WRITES, "mkdir", "mkdirat", "ftruncate", "fallocate", "rename", "renameat", "renameat2", "fsync")
ERRORS: dict[int, Callable[[Call], bool]] = {
    errno.EIO: lambda call: call.name != "flock",
    errno.ENOSPC: lambda call: call.name in GROWING or (call.name in OPENS and call.is_for_writing),
    errno.EMFILE: lambda call: call.name in OPENS,
    errno.EROFS: lambda call: call.is_for_writing and call.name not in (*WRITES, "fsync", "fdatasync", "ftruncate"),
}
"""Which calls the kernel lets fail with which error."""

Span = Literal["once", "from then on"]
SPANS: tuple[Span, ...] = ("once", "from then on")
START_LIMIT = 3
CALM_S = 10.0
"""Longer than the agent waits before it saves again what could not be saved."""


class Trouble(msgspec.Struct, frozen=True):
    """One error, and what came of it."""

    call: Call
    error: str
    span: Span
    problem: str | None


def sail_in_trouble(directory: Path, course: Course, tell: Tell, *, can_load: bool = True) -> None:
    """Tells `problem` where something is wrong, and `calm` when the errors are to stop.

    Where nothing `can_load` as long as they last, a version that is taken back has nobody to give way to until then.
    """
    FakeWorker.send = _apart(FakeWorker.send, tell)  # type: ignore[method-assign]
    rig = Rig(directory)
    take_on(rig, course)
    problem = None
    if _starts(rig):
        problem = _bring(rig, 1, V1) or _bring(rig, 2, V2)
        if course == "bad" and not can_load:
            problem = None
        tell("calm", b"")
        rig.wait(CALM_S, windows=False)
    else:
        tell("calm", b"")
        rig.boot()
    problem = problem or converged(rig, course, 3) or _after_a_start(rig, course)
    if problem:
        tell("problem", problem.encode())


def _apart(send: Callable[..., None], tell: Tell) -> Callable[..., None]:
    """What a worker does to the disk is not the agent's doing, for it is another process in truth."""

    def sending(*arguments: object) -> None:
        tell("apart", b"")
        send(*arguments)
        tell("back", b"")

    return sending


def _starts(rig: Rig) -> bool:
    """As the service manager does, which starts an agent again that says why it cannot run."""
    for _ in range(START_LIMIT):
        try:
            rig.boot()
        except SetupError:
            continue
        return True
    return False


def _bring(rig: Rig, generation: int, version: Version) -> str | None:
    served = bool(rig.yard.serving)
    rig.publish(version)
    rig.want(generation, version)
    rest(rig, 20)
    return not_served(rig) if served else None


def _after_a_start(rig: Rig, course: Course) -> str | None:
    rig.cut()
    rig.boot()
    wrong = not_served(rig)
    rest(rig)
    return wrong or converged(rig, course, 5) or garbage(rig)


def troubles(base: Path, course: Course, stride: int) -> Iterator[Trouble]:
    """Every `stride`-th of all errors at all calls, alone and lasting."""
    directory, wire = base / "state", Wire(base / f"wire-{course}")

    def sail(decide: Callable[[Call], Answer], *, can_load: bool = True) -> str | None:
        shutil.rmtree(directory, ignore_errors=True)
        wire.told.clear()

        def decide_unless_calm(call: Call) -> Answer:
            return "go" if any(kind == "calm" for kind, _ in wire.told) or _is_apart(wire) else decide(call)

        def voyage() -> None:
            wire.reach()
            sail_in_trouble(directory, course, wire.tell, can_load=can_load)

        status = watched(voyage, directory, WATCHED, decide_unless_calm, wire.hear, wire.receiver)
        problem = next((data.decode() for kind, data in wire.told if kind == "problem"), None)
        return f"the agent ended with {status}, see its traceback" if status else problem

    calls: list[Call] = []
    assert sail(lambda call: calls.append(call) or "go") is None  # type: ignore[func-returns-value]
    cases = [
        (span, number, call) for call in calls for number, fails in ERRORS.items() if fails(call) for span in SPANS
    ]
    for span, number, call in cases[::stride]:
        can_load = span == "once" or number not in (errno.EIO, errno.EMFILE)
        yield Trouble(call, errno.errorcode[number], span, sail(_failing(span, number, call), can_load=can_load))
    wire.close()


def _is_apart(wire: Wire) -> bool:
    return bool(wire.told) and wire.told[-1][0] == "apart"


def _failing(span: Span, number: int, at: Call) -> Callable[[Call], Answer]:
    def decide(call: Call) -> Answer:
        is_due = call.number == at.number if span == "once" else call.number >= at.number
        return number if is_due and ERRORS[number](call) else "go"

    return decide


def sabotage(kind: str) -> None:
    """The negative controls: an agent whose author did not expect a disk to fail."""
    if kind == "errors-unexpected":
        for module in (blobs, parts, spool):
            module.disk_errors = _only_what_is_missing
    elif kind == "stops-on-trouble":
        SlotRunner._try_again = lambda self: None  # type: ignore[method-assign]


@contextmanager
def _only_what_is_missing(what: str) -> Iterator[None]:
    """Expects no error but that of a file that is not there, which is no trouble of the disk's."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{what}: {error.strerror}") from error


def main(base: str, course: Course, stride: str, kind: str = "") -> None:
    sabotage(kind)
    found = list(troubles(Path(base), course, int(stride)))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
