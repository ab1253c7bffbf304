"""A slot under any sequence of wishes, failures and power cuts: its invariants, and that it never flips for ever."""

import random

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.cargo_hold import make_version
from wherry.agent.core import effects
from wherry.agent.core.record import BEFORE_SWITCH, REST, SlotRecord, Wish
from wherry.agent.core.recovery import TRY_LIMIT, recover
from wherry.agent.core.slot import TABLE, EventKind, Row, SlotEvent, Step, exhausted, pursue, step
from wherry.protocol.up.reported import Phase

ASSIGNMENTS = [make_version(number, artifact=bytes([number])).assignment for number in range(1, 5)]
OF_WISHES = {"assigned", "renewed", "satisfied", "refused", "restore"}
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
    kinds = [kind for state, kind in TABLE if state == slot.state and kind not in OF_WISHES | {"nothing-to-restore"}]
    if not to_restore:
        kinds = [kind for kind in kinds if kind not in OF_THE_INCUMBENT]
    wrong = "nothing-left" if slot.last_good is not None else "incumbent-exhausted"
    return [kind for kind in kinds if kind != wrong]


class SlotMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.slot = SlotRecord()
        self.generation = 0
        self._calm()

    def _calm(self) -> None:
        """Counters since the operator last did something."""
        self.attempts = self.fallbacks = self.steps = self.damages = self.starts = 0
        self.cut = False

    @rule(assignment=st.sampled_from(ASSIGNMENTS))
    def wish(self, assignment: object) -> None:
        self._calm()
        self.generation += 1
        wish = Wish(assignment=assignment, epoch=1, generation=self.generation)  # type: ignore[arg-type]
        self.slot = msgspec.structs.replace(self.slot, wish=wish, settled=False)
        self._pursue()

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

    @rule()
    def power_cut(self) -> None:
        tries = self.slot.attempt.tries if self.slot.attempt else 0
        self.cut = True
        self.starts += self.slot.state == "safe-mode"
        self._take(recover(self.slot))
        after = self.slot.attempt.tries if self.slot.attempt else 0
        assert after <= max(tries + 1, TRY_LIMIT)
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

        A start of the agent in safe mode tries once more what failed.
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
    with pytest.raises(AssertionError):
        test_long_walks_break_no_invariant()
