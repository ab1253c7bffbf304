"""A whole supervisor behind a broker that drops, doubles, delays, changes and shuffles whatever it carries.

At every step the device serves only bytes of versions that exist, obeys no older document, keeps its incumbent, and
gives each event a number of its own. Once the broker is honest again, the device comes to the newest wish.
"""

import random
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from tests.conftest import Tried
from tests.support.cargo_hold import DEVICE, FLEET, Version, desire, make_version
from tests.support.controls import found_by
from tests.support.hostile_sea import DAMAGES, Sea, damaged
from tests.support.rig import Rig
from tests.support.soak import scaled
from wherry.agent import supervisor
from wherry.agent.adapters.broker import Arrived
from wherry.agent.adapters.store.parts import Part
from wherry.agent.core import desired
from wherry.agent.core.record import Wish
from wherry.agent.fetch import Fetch
from wherry.protocol import topics
from wherry.protocol.blob import sha256
from wherry.protocol.codec import encode
from wherry.protocol.down import Desired
from wherry.protocol.up import Event

pytestmark = pytest.mark.slow

VERSIONS = [make_version(number, artifact=bytes([number]) * 140_000) for number in range(1, 5)]
MESSAGES = [version.messages() for version in VERSIONS]
NUMBERS = st.integers(0, len(VERSIONS) - 1)
"""And not the versions: their bytes would be written out again and again for reports."""

ARTIFACTS = {version.assignment.artifact for version in VERSIONS}
DESIRED = topics.down(FLEET, DEVICE, "desired")
AT = st.floats(0, 1, exclude_max=True)
TURNS_TO_CONVERGE = 60
"""Of two seconds each: the longest wait of a download after damage, and a probation."""

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""What a disk does is tried elsewhere."""

RUNS = scaled(80, soak=2000)
STEPS = 50
ENOUGH = 2000
"""Runs in which a sabotage is found for certain; the first that finds it is the last."""


class Told:
    """What happened over all runs, for the report."""

    runs = steps = drops = doubles = damages = late = stale = asked_again = commits = 0


class HostileBroker(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory(prefix="wherry-sea-", dir=IN_MEMORY)
        self.rig = Rig(Path(self._directory.name)).boot(online=False)
        self.sea = Sea(self.rig.link, self.rig.inbox.put)
        self.epoch = self.generation = 1
        self.documents: list[Desired] = []
        self.newest: Version | None = None
        self.seen = (0, 0)
        self.events: dict[tuple[str, int], Event] = {}
        self._read = 0
        self.wrong: list[str] = []
        self._watch_blobs()
        Told.runs += 1

    def _watch_blobs(self) -> None:
        """Look at each blob when it is put in place: the next check would throw a wrong one out again."""
        blobs = self.rig.store.blobs
        adopt = blobs.adopt

        def witnessed(part: Path, digest: str) -> None:
            adopt(part, digest)
            if sha256(blobs.path(digest).read_bytes()) != digest:
                self.wrong.append(digest)

        blobs.adopt = witnessed  # type: ignore[method-assign]  # a witness

    @initialize(number=NUMBERS, serves=st.booleans())
    def begin(self, number: int, serves: bool) -> None:
        """Half of the devices serve something already."""
        self.connect()
        self.publish(number)
        if serves:
            self.want(number, 1)
            self.fair_weather(10)
            assert self.rig.slot.incumbent is not None, "in fair weather a version is committed"

    # what the controller does

    @rule(number=NUMBERS, new_epoch=st.integers(0, 9))
    def want(self, number: int, new_epoch: int) -> None:
        if new_epoch == 0:
            self.epoch, self.generation = self.epoch + 1, 0
        self.generation += 1
        self.newest = VERSIONS[number]
        document = desire(self.generation, self.newest, epoch=self.epoch)
        self.documents.append(document)
        self._put(DESIRED, encode(document))

    @rule(number=NUMBERS)
    def publish(self, number: int) -> None:
        for topic, payload in MESSAGES[number].items():
            self._put(topic, payload)

    # what the broker does

    @rule(number=NUMBERS, at=AT, how=st.sampled_from(DAMAGES))
    def keep_damaged(self, number: int, at: float, how: str) -> None:
        topic, payload = _one_of(number, at)
        if bad := damaged(payload, how):
            self._put(topic, bad)

    @rule(number=NUMBERS, at=AT, how=st.sampled_from(DAMAGES))
    def damage_what_is_wanted_next(self, number: int, at: float, how: str) -> None:
        """Chance alone seldom damages, wants and carries the same version."""
        self.publish(number)
        self.keep_damaged(number, at, how)
        self.want(number, 1)
        self.fair_weather(2)

    @rule(number=NUMBERS, at=AT)
    def forget(self, number: int, at: float) -> None:
        self.rig.link.retained.pop(_one_of(number, at)[0], None)

    @precondition(lambda self: self.documents)
    @rule(at=AT, is_kept=st.booleans())
    def say_something_old(self, at: float, is_kept: bool) -> None:
        Told.stale += 1
        old = encode(self.documents[int(at * len(self.documents))])
        if is_kept:
            self.rig.link.retained[DESIRED] = old
        self.rig.deliver(DESIRED, old)

    @rule()
    def connect(self) -> None:
        if self.rig.link.online:
            self.rig.link.disconnect()
        self.rig.link.connect()
        self._settle()

    @rule()
    def disconnect(self) -> None:
        if self.rig.link.online:
            self.rig.link.disconnect()
        self._settle()

    @rule(count=st.integers(1, 40))
    def let_through(self, count: int) -> None:
        self.sea.let_through(count)
        self._settle()

    @precondition(lambda self: self.sea.held)
    @rule(at=AT)
    def deliver_late(self, at: float) -> None:
        self.sea.deliver_late(at)
        self._settle()

    @precondition(lambda self: self.sea.held)
    @rule(at=AT)
    def double(self, at: float) -> None:
        self.sea.double(at)
        self._settle()

    @precondition(lambda self: self.sea.held)
    @rule(at=AT)
    def drop(self, at: float) -> None:
        self.sea.drop(at)

    @precondition(lambda self: self.sea.held)
    @rule(at=AT, how=st.sampled_from(DAMAGES))
    def damage(self, at: float, how: str) -> None:
        self.sea.damage(at, how)

    @rule(seed=st.integers(0, 1 << 16))
    def shuffle(self, seed: int) -> None:
        self.sea.shuffle(seed)

    @precondition(lambda self: self.sea.held)
    @rule()
    def lie(self) -> None:
        self.sea.lie()

    @rule(number=NUMBERS, at=AT, how=st.sampled_from(("none", *DAMAGES)))
    def say_what_nobody_asked_for(self, number: int, at: float, how: str) -> None:
        topic, payload = _one_of(number, at)
        self.rig.inbox.put(Arrived(topic, payload if how == "none" else damaged(payload, how)))
        self._settle()

    @rule(seconds=st.sampled_from([1, 2, 6, 20]))
    def wait(self, seconds: float) -> None:
        self.rig.wait(seconds)

    @rule(seconds=st.sampled_from([2, 12]))
    def fair_weather(self, seconds: int) -> None:
        """For a while everything passes, so that downloads and probations get somewhere."""
        if not self.rig.link.online:
            self.connect()
        for _ in range(seconds):
            self.sea.let_through(len(self.sea.held))
            self.rig.wait(1)

    @rule(seed=st.integers(0, 1 << 16), seconds=st.sampled_from([2, 8]))
    def foul_weather(self, seed: int, seconds: int) -> None:
        chance = random.Random(seed)
        for _ in range(seconds):
            self.sea.storm(chance)
            self.sea.let_through(len(self.sea.held))
            self.rig.wait(1)

    # what must hold

    @invariant()
    def only_what_exists_is_served_or_kept(self) -> None:
        assert {worker.artifact for worker in self.rig.yard.workers} <= ARTIFACTS | {""}
        assert not self.wrong, "a blob that is not its digest"

    @invariant()
    def no_older_document_counts(self) -> None:
        record = self.rig.store.record
        assert (record.epoch, record.generation) >= self.seen
        self.seen = (record.epoch, record.generation)

    @invariant()
    def the_incumbent_serves(self) -> None:
        assert self.rig.slot.incumbent is None or self.rig.yard.serving

    @invariant()
    def events_have_numbers_of_their_own(self) -> None:
        for message in self.rig.link.sent[self._read :]:
            if isinstance(message, Event):
                known = self.events.setdefault((message.boot_id, message.seq), message)
                assert known == message, "one number for two events"
        self._read = len(self.rig.link.sent)
        Told.steps += 1

    def teardown(self) -> None:
        try:
            if self.newest is not None:
                self._become_honest()
                assert self._converges(), (
                    f"{self.rig.slot.state} after {TURNS_TO_CONVERGE} turns: {self.rig.slot.outcome}"
                )
                self.events_have_numbers_of_their_own()
            for name in ("drops", "doubles", "damages", "late"):
                setattr(Told, name, getattr(Told, name) + getattr(self.sea, name))
            Told.commits += len(self.rig.events("committed"))
        finally:
            self.rig.store.close()
            self._directory.cleanup()

    def _become_honest(self) -> None:
        """Everything is kept as it was published, and carried as it is."""
        self.sea.held.clear()
        self.sea.calm = True
        for messages in MESSAGES:
            self.rig.link.retained |= messages
        self.rig.link.retained[DESIRED] = encode(self.documents[-1])
        if self.rig.link.online:
            self.rig.link.disconnect()
        self.rig.link.connect()
        self.rig.settle()

    def _converges(self) -> bool:
        """An attempt that the bad times ended is asked for once more, as an operator does who reads its reason."""
        assert self.newest is not None
        for _ in range(TURNS_TO_CONVERGE):
            self.rig.wait(2)
            slot = self.rig.slot
            if slot.state == "running" and slot.incumbent == self.newest.assignment.ref and slot.settled:
                return True
            if slot.settled and slot.attempt is None and self._is_newest(slot.wish):
                Told.asked_again += 1
                self.want(VERSIONS.index(self.newest), 1)
        return False

    def _is_newest(self, wish: Wish | None) -> bool:
        return wish is not None and (wish.epoch, wish.generation) == (self.epoch, self.generation)

    def _put(self, topic: str, payload: bytes) -> None:
        self.rig.link.put(topic, payload)
        self._settle()

    def _settle(self) -> None:
        self.rig.settle()


def _one_of(number: int, at: float) -> tuple[str, bytes]:
    """A topic of a version and what belongs there; `at` is in [0, 1)."""
    return list(MESSAGES[number].items())[int(at * len(MESSAGES[number]))]


def _run(machine: type[RuleBasedStateMachine], runs: int, *, shrink: bool = True) -> None:
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs, stateful_step_count=STEPS, deadline=None, database=None, phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_a_hostile_broker_gets_nothing_wrong_served_and_an_honest_one_everything_right(tried: Tried) -> None:
    _run(HostileBroker, RUNS)
    tried(
        f"{Told.runs} runs of up to {STEPS} steps, {Told.steps} steps in all: {Told.drops} messages dropped, "
        f"{Told.doubles} doubled, {Told.late} late, {Told.damages} changed, {Told.stale} stale documents; "
        f"{Told.commits} commits, all converged, {Told.asked_again} wishes asked for again"
    )


@pytest.mark.parametrize("more_bytes", [-1, 1])
def test_a_reference_that_lies_about_its_size_stops_nothing(tmp_path: Path, more_bytes: int) -> None:
    """The digest is right and the length is not: once it ended the agent, at every start."""
    rig = Rig(tmp_path).boot()
    rig.deploy(1, VERSIONS[0])
    honest = VERSIONS[1].assignment
    size_bytes = honest.manifest.size_bytes + more_bytes
    lie = replace(honest, manifest=replace(honest.manifest, size_bytes=size_bytes))
    rig.publish(VERSIONS[1])
    rig.want(2, Version(lie, VERSIONS[1].blobs))
    rig.wait(120)
    assert rig.events("rejected")[0].reason == "block 0 arrived damaged 8 times"
    assert rig.slot.incumbent == VERSIONS[0].assignment.ref
    rig.cut()


def test_negative_control_verification_off_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fetch, "_matches", lambda self, index, block: len(block) == self.ref.block_size_bytes(index))
    monkeypatch.setattr(Part, "is_whole", lambda _: True)
    with pytest.raises(AssertionError, match="a blob that is not its digest"):
        _run(HostileBroker, ENOUGH, shrink=False)


def test_negative_control_obeying_any_document_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (supervisor, desired):
        monkeypatch.setattr(module, "is_newer", lambda *_: True)
    with found_by("no_older_document_counts"):
        _run(HostileBroker, ENOUGH, shrink=False)
