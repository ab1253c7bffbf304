"""A slot under any sequence of wishes, failures, power cuts and crash loops: its invariants, and that it ends."""

import random

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.conftest import Tried
from tests.support.cargo_hold import make_version
from tests.support.controls import found_by
from tests.support.soak import scaled
from wherry.agent.core import effects, recovery
from wherry.agent.core.boots import BLAME_ALL_AT, BLAME_ATTEMPT_AT, BLAME_INCUMBENT_AT
from wherry.agent.core.record import BEFORE_SWITCH, REST, DeviceRecord, SlotRecord, Wish
from wherry.agent.core.recovery import RECOVERY, TRY_LIMIT, recover
from wherry.agent.core.slot import TABLE, EventKind, Row, SlotEvent, Step, exhausted, pursue, step
from wherry.protocol.up.reported import Phase

ASSIGNMENTS = [make_version(number, artifact=bytes([number])).assignment for number in range(1, 5)]
OF_WISHES = {"assigned", "renewed", "satisfied", "refused", "restore"}
OF_TIME = {"nothing-to-restore", "trial-due"}
OF_THE_INCUMBENT = {
    "serving-up", "serving-down", "serving-prevented", "incumbent-exhausted", "nothing-left", "incumbent-damaged",
}  # fmt: skip
FORWARD: dict[Phase, EventKind] = {
    "preflight": "fits", "download": "fetched", "verify": "verified", "self-test": "self-test-passed",
    "switch": "candidate-serving", "probation": "healthy", "rolling-back": "serving-up",
}  # fmt: skip
MAX_STEPS_OF_AN_ATTEMPT = 8
"""Persisted steps from the wish to the end of its attempt, where nothing cuts in."""


def happenings(slot: SlotRecord) -> list[EventKind]:
    """What the world can do to a slot in this state."""
    to_restore = slot.incumbent is not None and not slot.incumbent_failed
    if slot.state == "rolling-back" and not to_restore:
        return ["nothing-to-restore"]
    kinds = [kind for state, kind in TABLE if state == slot.state and kind not in OF_WISHES | OF_TIME]
    if not to_restore:
        kinds = [kind for kind in kinds if kind not in OF_THE_INCUMBENT]
    wrong = "nothing-left" if slot.last_good is not None else "incumbent-exhausted"
    return [kind for kind in kinds if kind != wrong]


class SlotMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.slot = SlotRecord()
        self.generation = self.saves = 0
        self.device = DeviceRecord()
        self._calm()

    def _calm(self) -> None:
        """Counters since the operator last did something."""
        self.attempts = self.fallbacks = self.steps = self.damages = self.starts = 0
        self.cut = False

    @rule(assignment=st.sampled_from(ASSIGNMENTS))
    def wish(self, assignment: object) -> None:
        self._receive(assignment)
        self._pursue()

    def _receive(self, assignment: object) -> None:
        """A document is on disk, and the slot has not looked at it yet."""
        self._calm()
        self.generation += 1
        wish = Wish(assignment=assignment, epoch=1, generation=self.generation)  # type: ignore[arg-type]
        self.slot = msgspec.structs.replace(self.slot, wish=wish, settled=False)

    @precondition(lambda self: happenings(self.slot))
    @rule(data=st.data())
    def happen(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(happenings(self.slot)))
        if kind == "restart-asked":
            self._calm()
        if kind == "incumbent-damaged":
            self.damages += 1
            if self.damages > 1:
                return  # a disk that rots all the time is not what is bounded here
        self._meet(kind)

    def _meet(self, kind: EventKind) -> None:
        event = exhausted(self.slot, "failed") if kind in ("incumbent-exhausted", "nothing-left") else SlotEvent(kind)
        self._take(step(self.slot, event))
        self._pursue()

    @rule(seed=st.integers(0, 2**32))
    def sail(self, seed: int) -> None:
        """A long time without a word from the operator; half of it goes well, so that late states are seen often."""
        chance = random.Random(seed)
        for _ in range(100):
            kinds = [kind for kind in happenings(self.slot) if kind not in ("incumbent-damaged", "restart-asked")]
            onward = FORWARD.get(self.slot.state)
            if not kinds or (self.slot.state == "running" and chance.random() < 0.5):
                return
            kind = onward if onward in kinds and chance.random() < 0.5 else chance.choice(kinds)
            self._meet(kind)
            self.nothing_flips_for_ever()
            self.what_rests_is_what_it_says()

    @property
    def unsteady(self) -> int:
        return self.device.unsteady_boots

    @rule()
    def steady_time(self) -> None:
        self.device = self.device.with_slot("main", self.slot).steadied()

    @precondition(lambda self: self.slot.state == "safe-mode" and self.device.given_up)
    @rule()
    def trial(self) -> None:
        """The agent has been in safe mode for long: it tries by itself once, and is cut short at the next start."""
        self.starts += 1
        self.device = self.device.on_trial()
        self._take(step(self.slot, SlotEvent("trial-due")))

    @rule(starts=st.integers(2, BLAME_ALL_AT + 2), seed=st.integers(0, 2**32), wishes=st.sampled_from([0.0, 0.3]))
    def crash_loop(self, starts: int, seed: int, wishes: float) -> None:
        """Starts of the agent that last for a few events each; `wishes` is the share of those with a newer document."""
        chance = random.Random(seed)
        for _ in range(starts):
            if chance.random() < wishes:
                self._receive(chance.choice(ASSIGNMENTS))
            self.power_cut()
            if chance.random() < wishes:
                self.wish(chance.choice(ASSIGNMENTS))
            for _ in range(chance.randrange(8)):
                self._meet_anything(chance)

    def _meet_anything(self, chance: random.Random) -> None:
        """One event that is no operator's and no rotten disk's; half of them take an attempt on."""
        kinds = [kind for kind in happenings(self.slot) if kind not in ("incumbent-damaged", "restart-asked")]
        onward = FORWARD.get(self.slot.state)
        if kinds:
            self._meet(onward if onward in kinds and chance.random() < 0.5 else chance.choice(kinds))

    @rule()
    def power_cut(self) -> None:
        tries = self.slot.attempt.tries if self.slot.attempt else 0
        self.cut = True
        self.starts += self.slot.state == "safe-mode"
        self.device = self.device.booted()
        self._take(recover(self.slot, self.unsteady))
        after = self.slot.attempt.tries if self.slot.attempt else 0
        assert after <= max(tries + 1, TRY_LIMIT)
        if self.unsteady >= BLAME_ATTEMPT_AT:
            assert self.slot.attempt is None
            assert self.slot.settled
        if self.unsteady >= BLAME_ALL_AT:
            assert self.slot.state in ("safe-mode", "empty")
        self._pursue()

    def _pursue(self) -> None:
        while (event := pursue(self.slot)) is not None:
            self._take(step(self.slot, event))

    def _take(self, done: Step) -> None:
        before, self.slot = done.before, done.after
        if done.event.kind == "assigned" and self.slot.state == "preflight":
            assert self.slot.attempt is not None
            assert self.slot.quarantined(self.slot.attempt.ref.artifact) is None
            self.attempts += 1
            self.steps = 0
        self.steps += before != self.slot
        self.saves += before != self.slot
        self.fallbacks += self.slot.state == "rolling-back" and before.state != "rolling-back"
        if before.state in BEFORE_SWITCH and done.event.kind != "incumbent-damaged":
            assert self.slot.incumbent == before.incumbent, "before the switch the incumbent is not touched"

    @invariant()
    def an_attempt_exists_exactly_in_its_states(self) -> None:
        assert (self.slot.attempt is not None) == (self.slot.state in (*BEFORE_SWITCH, "probation"))

    @invariant()
    def what_rests_is_what_it_says(self) -> None:
        if self.slot.state == "running":
            assert self.slot.incumbent is not None
            assert not self.slot.incumbent_failed
        if self.slot.state == "empty":
            assert self.slot.incumbent is None
        if self.slot.state == "safe-mode":
            assert self.slot.incumbent_failed

    @invariant()
    def a_wish_is_settled_when_the_slot_rests(self) -> None:
        assert self.slot.settled or self.slot.state not in REST

    @invariant()
    def the_newest_wish_has_the_newest_outcome(self) -> None:
        if self.slot.settled and self.slot.wish is not None and self.slot.state in REST:
            assert self.slot.outcome is not None
            assert self.slot.outcome.generation == self.generation

    @invariant()
    def tries_are_bounded(self) -> None:
        assert self.slot.attempt is None or self.slot.attempt.tries <= TRY_LIMIT

    @invariant()
    def nothing_flips_for_ever(self) -> None:
        """Without a word from the operator: one attempt, and one more where the disk lost the incumbent.

        A start of the agent in safe mode tries once more what failed, and so does a long time in it.
        """
        assert self.attempts <= 1 + self.damages
        assert self.fallbacks <= 3 + self.damages + self.starts

    @invariant()
    def an_attempt_is_few_persisted_steps(self) -> None:
        if self.slot.state in (*BEFORE_SWITCH, "probation") and not self.cut and not self.damages:
            assert self.steps <= MAX_STEPS_OF_AN_ATTEMPT


SlotMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSlot = SlotMachine.TestCase


WALKS = 300


def walk(seed: int) -> None:
    """Ten wishes, each followed by a long time and perhaps a power cut, with every invariant checked."""
    chance, machine = random.Random(seed), SlotMachine()
    for _ in range(10):
        machine.wish(chance.choice(ASSIGNMENTS))
        machine.sail(chance.randrange(2**32))
        if chance.random() < 0.3:
            machine.power_cut()
        machine.the_newest_wish_has_the_newest_outcome()
        machine.an_attempt_exists_exactly_in_its_states()


def test_long_walks_break_no_invariant() -> None:
    for seed in range(WALKS):
        walk(seed)


@pytest.mark.parametrize(
    ("state", "kind", "broken"),
    [
        ("probation", "breach", Row("rolling-back", (effects.abandon,))),
        ("self-test", "candidate-failed", Row("home", (effects.abandon,))),
        ("rolling-back", "nothing-left", Row("running", (effects.give_up,))),
        ("preflight", "unfit", Row("running", (effects.reject,))),
        ("download", "unfetchable", Row("home", (effects.reject, effects.forget_incumbent))),
    ],
)
def test_a_broken_table_is_found(monkeypatch: pytest.MonkeyPatch, state: Phase, kind: EventKind, broken: Row) -> None:
    """The negative control: each row, spoilt, breaks an invariant."""
    monkeypatch.setitem(TABLE, (state, kind), broken)
    with found_by():
        test_long_walks_break_no_invariant()


LOOPS = scaled(800, soak=20_000)
MAX_SAVES_OF_A_CRASH_LOOP = 40
"""Steps of a slot that are saved from the first start of a loop to its end, whatever happened before."""


def crash_for_ever(seed: int, wishes: float = 0.0) -> SlotMachine:
    """Any past, then an agent that is cut short soon after every start."""
    chance, machine = random.Random(seed), SlotMachine()
    for _ in range(chance.randrange(4)):
        machine.wish(chance.choice(ASSIGNMENTS))
        machine.sail(chance.randrange(2**32))
    machine.wish(chance.choice(ASSIGNMENTS))
    for _ in range(chance.randrange(8)):
        machine._meet_anything(chance)
    machine.saves = 0
    machine.device = DeviceRecord()
    machine.crash_loop(BLAME_ALL_AT + 1, chance.randrange(2**32), wishes)
    return machine


def test_an_operator_who_goes_on_asking_prolongs_no_crash_loop() -> None:
    for seed in range(scaled(1500, soak=20_000)):
        machine = crash_for_ever(seed, wishes=0.3)
        machine.power_cut()
        machine.the_newest_wish_has_the_newest_outcome()


def test_a_crash_loop_ends_in_a_slot_that_rests_and_is_not_written_any_more(tried: Tried) -> None:
    most = 0
    for seed in range(LOOPS):
        machine = crash_for_ever(seed)
        ended = machine.slot
        assert ended.state in ("safe-mode", "empty")
        assert ended.settled
        most = max(most, machine.saves)
        machine.crash_loop(30, seed, 0.0)
        assert machine.slot == ended
    tried(f"{LOOPS} crash loops of {BLAME_ALL_AT + 31} starts, at most {most} saved steps each")
    assert most <= MAX_SAVES_OF_A_CRASH_LOOP


@pytest.mark.parametrize(
    ("state", "kind", "broken"),
    [
        ("download", "blame-attempt", Row("download")),
        ("running", "blame-all", Row("running", (effects.decline,))),
        ("safe-mode", "blame-all", Row("rolling-back", (effects.trust_again,))),
        ("probation", "blame-all", Row("home", (effects.revert, effects.decline))),
        ("probation", "blame-attempt", Row("rolling-back", (effects.abandon,))),
        ("rolling-back", "blame-all", Row("rolling-back")),
        ("empty", "blame-all", Row("empty")),
    ],
)
def test_a_broken_row_of_the_crash_loop_is_found(
    monkeypatch: pytest.MonkeyPatch, state: Phase, kind: EventKind, broken: Row
) -> None:
    """The negative control: each row, spoilt, breaks an invariant."""
    monkeypatch.setitem(RECOVERY, (state, kind), broken)
    with found_by():
        test_an_operator_who_goes_on_asking_prolongs_no_crash_loop()


def test_without_the_count_of_starts_a_crash_loop_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what stops the agent is started again for ever."""
    monkeypatch.setattr(recovery, "blame", lambda _: "nothing")
    with found_by():
        test_a_crash_loop_ends_in_a_slot_that_rests_and_is_not_written_any_more(lambda _: None)


def test_a_newer_wish_gets_a_slot_out_of_a_crash_loop() -> None:
    """The agent runs steadily meanwhile, for nothing runs that could stop it."""
    for seed in range(300):
        machine = crash_for_ever(seed)
        assignment = make_version(9, artifact=b"the mended one").assignment
        machine.steady_time()
        machine.wish(assignment)
        for _ in range(6):
            machine._meet(FORWARD[machine.slot.state])
        machine.steady_time()
        assert machine.slot.serving == assignment.ref
        assert machine.unsteady == 0


def test_a_start_after_a_steady_time_in_safe_mode_tries_once_and_no_more() -> None:
    for seed in range(300):
        machine = crash_for_ever(seed)
        if machine.slot.state == "safe-mode":
            for _ in range(1 + seed % 4):
                machine.steady_time()
            machine.power_cut()
            assert machine.slot.state == "rolling-back"
            machine.power_cut()
            assert machine.slot.state == "safe-mode"


def test_a_trial_that_stops_the_board_is_in_safe_mode_at_the_next_start(tried: Tried) -> None:
    in_safe_mode = 0
    for seed in range(600):
        machine = crash_for_ever(seed)
        if machine.slot.state == "safe-mode":
            in_safe_mode += 1
            machine.steady_time()
            given_up = machine.device.given_up
            machine.trial()
            assert machine.slot.state == "rolling-back"
            machine.power_cut()
            assert machine.slot.state == "safe-mode"
            assert machine.device.given_up == given_up + 1
    tried(f"{in_safe_mode} trials")
    assert in_safe_mode > 100


def _starts(slot: SlotRecord, first: int, last: int) -> SlotRecord:
    for unsteady in range(first, last + 1):
        slot = recover(slot, unsteady).after
    return slot


def test_the_blame_widens_from_the_attempt_to_the_incumbent_to_everything() -> None:
    old, new, wished = (assignment.ref for assignment in ASSIGNMENTS[:3])
    wish = Wish(assignment=ASSIGNMENTS[2], epoch=1, generation=7)
    slot = SlotRecord(state="preflight", incumbent=new, last_good=old, wish=wish, settled=False)
    slot = effects.begin(slot, "running", "")
    assert _starts(slot, 1, BLAME_ATTEMPT_AT - 1) == slot
    blamed = recover(slot, BLAME_ATTEMPT_AT).after
    assert blamed.state == "running"
    assert blamed.outcome is not None
    assert (blamed.outcome.ref, blamed.outcome.result, blamed.outcome.generation) == (wished, "rejected", 7)
    assert blamed.outcome.reason == "the agent stopped 4 times in a row before it had run for 60 s"
    assert blamed.quarantined(wished.artifact) is None, "not a byte of it ran"
    tried_once = recover(effects.count_try(slot, "verify", ""), BLAME_ATTEMPT_AT).after
    assert tried_once.quarantined(wished.artifact) == blamed.outcome.reason
    assert _starts(blamed, BLAME_ATTEMPT_AT + 1, BLAME_INCUMBENT_AT - 1) == blamed
    fallen = _starts(blamed, BLAME_INCUMBENT_AT, BLAME_ALL_AT - 1)
    assert (fallen.state, fallen.incumbent) == ("rolling-back", old)
    ended = _starts(fallen, BLAME_ALL_AT, BLAME_ALL_AT + 5)
    assert (ended.state, ended.serving) == ("safe-mode", None)


def test_a_candidate_that_stops_the_board_is_given_up_before_anything_else_is_blamed() -> None:
    assert TRY_LIMIT < BLAME_ATTEMPT_AT < BLAME_INCUMBENT_AT < BLAME_ALL_AT


def test_a_wish_that_came_before_the_attempt_for_an_older_one_ended_keeps_its_turn() -> None:
    """The newer document was saved, and the power was cut before the slot could look at it."""
    old, newer = (Wish(assignment=a, epoch=1, generation=g) for g, a in enumerate(ASSIGNMENTS[:2], start=1))
    attempt = effects.begin(SlotRecord(state="probation", wish=old, settled=False), "empty", "")
    attempt = effects.count_try(effects.count_try(effects.count_try(attempt, "verify", ""), "verify", ""), "verify", "")
    after = recover(msgspec.structs.replace(attempt, wish=newer)).after
    assert after.state == "rolling-back"
    assert not after.settled
    wished = pursue(step(after, SlotEvent("nothing-to-restore")).after)
    assert wished is not None
    assert wished.kind == "assigned"
