"""One agent's way from an empty directory over its first version to its second, the same at every run.

`sail` does it, and tells of everything that the agent may rely upon from then on: a record that was saved, an event
that was kept, a message that went up. `problem` is the other half: it looks at what a sudden end left of the directory,
starts an agent on it, gives it the same messages again, and says what is not as it must be.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

import msgspec

from tests.support.cargo_hold import Version, make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from wherry.agent.adapters.store import Store
from wherry.agent.core.record import REST, DeviceRecord, SlotRecord
from wherry.protocol.codec import decode_up, encode
from wherry.protocol.types import Message
from wherry.protocol.up import Event

V1, V2 = make_version(1), make_version(2)
Course = Literal["good", "bad", "sinking"]
"""`good` ends on the second version. In `bad` it answers with errors in its probation and is taken back. In `sinking`
the first one crashes for ever before the second one comes, so that the slot goes into its safe mode."""

COURSES: tuple[Course, ...] = get_args(Course)
Tell = Callable[[str, bytes], None]
"""What kind of thing happened (`saved` a record, `kept` an event, `sent` one), and the bytes of it."""

Told = list[tuple[str, bytes]]


def sail(directory: Path, course: Course, tell: Tell, *, reach: Callable[[], None] = lambda: None) -> None:
    """The whole voyage. `reach` is called before anything is told."""
    rig = Rig(directory)
    take_on(rig, course)
    rig.boot(online=False)
    reach()
    _report(rig, tell)
    rig.link.connect()
    rig.settle()
    rig.publish(V1)
    rig.want(1, V1)
    rest(rig)
    if course == "sinking":
        sink(rig)
    rig.publish(V2)
    rig.want(2, V2)
    rest(rig)
    rig.cut()


def rest(rig: Rig, limit_s: int = 12) -> None:
    """Let time pass until nothing is under way any more, or for long."""
    for _ in range(limit_s):
        rig.wait(1)
        if rig.slot.state in REST and rig.slot.settled:
            return


def sink(rig: Rig) -> None:
    """The first version crashes at every start, until the agent stops trying."""
    rig.conduct[V1.assignment.artifact] = Conduct(dies_at="load")
    for worker in list(rig.yard.serving):
        worker.die(-9, "killed by signal 9 (SIGKILL)")
    rig.wait(120)
    assert rig.slot.state == "safe-mode"


def take_on(rig: Rig, course: Course) -> None:
    rig.troubles = []
    if course == "bad":
        rig.conduct[V2.assignment.artifact] = Conduct(errors=50)


def _report(rig: Rig, tell: Tell) -> None:
    """Tell of what is saved, kept and sent, each after it happened; sent is told before it is acknowledged."""
    store, link = rig.store, rig.link
    save, add, publish = store.save, store.events.add, link.publish

    def saving(record: DeviceRecord) -> None:
        changed = record != store.record
        save(record)
        if changed:
            tell("saved", msgspec.msgpack.encode(record))

    def adding(message: bytes) -> int:
        dropped = add(message)
        tell("kept", message)
        return dropped

    def publishing(topic: str, payload: bytes, **options: object) -> tuple[int, int] | None:
        if link.online and topic.endswith("/event"):
            tell("sent", payload)
        return publish(topic, payload, **options)  # type: ignore[arg-type]

    if store.record != DeviceRecord():
        tell("saved", msgspec.msgpack.encode(store.record))
    for number in store.events.numbers():
        tell("kept", store.events.read(number))
    store.save, store.events.add, link.publish = saving, adding, publishing  # type: ignore[method-assign,assignment]


# What must be true afterwards


class Found(msgspec.Struct):
    """What a sudden end left: the state on disk, and what is wrong, if anything is."""

    state: str
    problem: str | None


def history(told: Told) -> list[DeviceRecord]:
    """All records that were saved in a voyage that came through, the first being what an empty directory holds."""
    saved = [msgspec.msgpack.decode(data, type=DeviceRecord) for kind, data in told if kind == "saved"]
    return [DeviceRecord(), *saved]


def look(directory: Path, course: Course, told: Told, records: list[DeviceRecord]) -> Found:
    """Start an agent on what is left, after `told` of a voyage in which `records` are saved."""
    state = "?"
    rig = Rig(directory)
    rig.boots, rig.troubles = 100, []  # another boot
    try:
        store = Store(directory)
        left = store.record
        store.close()
        state = left.slot("main").state
        return Found(state, _stale(left, told, records) or _second_life(rig, course, told, left.slot("main")))
    except Exception as error:  # noqa: BLE001  whatever it is, it is what the test wants to know
        return Found(state, repr(error))
    finally:
        if hasattr(rig, "store"):
            rig.cut()


def _stale(left: DeviceRecord, told: Told, records: list[DeviceRecord]) -> str | None:
    """Whether the record is older than the last one that was saved, or one that never was."""
    saved = sum(kind == "saved" for kind, _ in told)
    if left in records[saved : saved + 2]:
        return None
    was = records.index(left) if left in records else None
    return f"record {was} is on disk although {saved} were saved"


def _second_life(rig: Rig, course: Course, told: Told, slot: SlotRecord) -> str | None:
    rig.boot()
    has_one = slot.incumbent is not None and (slot.state == "safe-mode" or not slot.incumbent_failed)
    if has_one and (wrong := not_served(rig)):
        return f"at the start in {slot.state}: {wrong}"
    return converged(rig, course) or _events_lost(rig, told) or garbage(rig)


def not_served(rig: Rig) -> str | None:
    """What is wrong with what serves now."""
    served = {worker.artifact for worker in rig.yard.serving}
    if not served:
        return f"nothing serves in state {rig.slot.state}"
    return None if served <= {V1.assignment.artifact, V2.assignment.artifact} else "something else serves"


def converged(rig: Rig, course: Course, generation: int = 1) -> str | None:
    """Give the same messages again, and see where the agent ends."""
    take_on(rig, course)
    for version in (V1, V2):
        rig.publish(version)
    rest(rig)
    for number, version in enumerate((V1, V2), generation):
        if number >= rig.store.record.generation:
            rig.want(number, version)
            rest(rig)
    goal = V1 if course == "bad" else V2
    served = [worker.artifact for worker in rig.yard.serving]
    if (rig.slot.state, rig.slot.incumbent, served) != ("running", goal.assignment.ref, [goal.assignment.artifact]):
        return f"ends with {rig.slot.incumbent} in state {rig.slot.state}, {len(served)} serve; {rig.slot.outcome}"
    if course == "bad" and not rig.slot.quarantined(V2.assignment.artifact):
        return "the bad version is not in quarantine"
    return None


def _events_lost(rig: Rig, told: Told) -> str | None:
    sent = [data for kind, data in told if kind == "sent"] + [encode(event) for event in rig.sent(Event)]
    lost = {data for kind, data in told if kind == "kept"} - set(sent)
    if lost:
        return f"{len(lost)} events were kept and never went up: {sorted(lost)[0]!r}"
    return ambiguous(decode_up("event", data) for data in sent)


def ambiguous(events: Iterable[Message]) -> str | None:
    """Whether a number was given to two different events."""
    seen: dict[tuple[str, int], Event] = {}
    for event in events:
        assert isinstance(event, Event)
        if seen.setdefault((event.boot_id, event.seq), event) != event:
            return f"event {event.boot_id} {event.seq} was said with different content"
    return None


def garbage(rig: Rig) -> str | None:
    """What lies in the directory and belongs to nothing, once an agent is at rest."""
    refs = {rig.slot.incumbent, rig.slot.last_good}
    wanted = {ref.digest for version in (V1, V2) if version.assignment.ref in refs for ref in _blobs(version)}
    left = {path.relative_to(rig.store.directory).as_posix() for path in rig.store.directory.rglob("*.tmp")}
    left |= {f"blobs/{path.name}" for path in (rig.store.directory / "blobs").iterdir() if path.name not in wanted}
    left |= {f"{name}/{path.name}" for name in ("parts", "events") for path in (rig.store.directory / name).iterdir()}
    return f"left over: {sorted(left)}" if left else None


def _blobs(version: Version) -> list[msgspec.Struct]:
    return [ref for ref, _ in version.blobs]
