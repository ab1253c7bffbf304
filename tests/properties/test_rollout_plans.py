"""What the engine upholds under any plan, over fleets of 1 to 10,000 devices that fail, fall silent, come late, leave,
flap, and under clocks that jump. Every invariant is a sentence, and every sentence has an engine that breaks it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.conftest import Tried
from tests.support.controller_values import TFLITE, make_birth, make_plan
from tests.support.controls import found_by
from tests.support.rollout_world import NEW, Engine, World
from tests.support.soak import scaled
from wherry.controller.core import actions as act
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.members import LIVE, Member, Rollout, Standing
from wherry.controller.core.plan import RolloutPlan, Window
from wherry.controller.core.rollout import decide
from wherry.controller.core.standing import FAILED, PENDING, UNCOUNTED, UNSETTLED
from wherry.controller.core.windows import is_open
from wherry.protocol.up.reported import Outcome, SlotReport

RUNS = scaled(150, soak=5000)
STEPS = 400
OLD_BIRTH = make_birth(TFLITE, protocol_versions=(0,))
WINDOWS = ((), (), (Window(begin="00:00", end="00:10"), Window(begin="06:00", end="05:00")))
CONDUCTS = (
    "good", "good", "good", "good", "slow", "rejects", "reverts", "clumsy", "mute", "late", "old", "mended", "leaves",
    "flaps", "crashes", "loses",
)  # fmt: skip
"""What a device does with the version; see `act_out`. One that is mended learns to run it while the rollout is on."""

plans = st.builds(
    make_plan,
    version=st.just(2),
    soak_s=st.sampled_from([0.0, 15.0]),
    min_devices=st.integers(1, 3),
    min_inferences=st.sampled_from([0, 50, 400]),
    max_failures=st.integers(0, 4),
    max_failure_share=st.sampled_from([0.0, 0.0, 0.3]),
    wave_deadline_s=st.sampled_from([None, None, 5000.0]),
    deadline_s=st.sampled_from([None, None, 9000.0]),
    on_breach=st.sampled_from(["revert", "revert-wave", "hold"]),
    windows=st.sampled_from(WINDOWS),
    max_sends_per_minute=st.sampled_from([None, None, 1, 7]),
    retries=st.sampled_from([{}, {"download": 2}, {"silent": 1, "download": 1}]),
    retry_after_s=st.sampled_from([0.0, 60.0]),
    late_joiners=st.sampled_from(["leave", "join"]),
)
fleets = st.lists(st.sampled_from(CONDUCTS), min_size=1, max_size=40)
cuts = st.lists(st.integers(1, 30), min_size=1, max_size=5)
delays_s = st.lists(st.sampled_from([0.0, 1.0, 20.0, 61.0, 101.0, 4000.0, -50.0, -90_000.0]), max_size=15)


class Voyage:
    """Runs a rollout to its end, and holds every step to every sentence."""

    def __init__(
        self, plan: RolloutPlan, fleet: Sequence[str], sizes: Sequence[int], late: int = 0, engine: Engine = decide
    ) -> None:
        self.conducts = {f"pi-{number}": conduct for number, conduct in enumerate(fleet)}
        births = {
            name: OLD_BIRTH if kind in ("old", "mended") else make_birth() for name, kind in self.conducts.items()
        }
        self.world = World(plan, self._cut(list(self.conducts), sizes), births=births, engine=engine)
        self.late = [f"late-{number}" for number in range(late)]
        self.conducts |= dict.fromkeys(self.late, "good")
        self.breach: str | None = None
        self.wants_evidence = False
        self.on_it_at_breach: set[str] = set()
        self.sendings: list[tuple[float, str]] = []
        self.age = 0

    @staticmethod
    def _cut(names: list[str], sizes: Sequence[int]) -> list[list[str]]:
        waves: list[list[str]] = []
        while names:
            size = sizes[min(len(waves), len(sizes) - 1)]
            waves, names = [*waves, names[:size]], names[size:]
        return waves

    def run(self, delays_s: Sequence[float]) -> None:
        for delay_s in delays_s:
            self.step(delay_s)
        for _ in range(STEPS):
            if self.world.ended:
                self.an_end_says_why_and_fits_what_was_seen()
                return
            self.step(61.0 if self.age % 5 else 1800.0 if self.world.rollout.plan.windows else 101.0)
        pytest.fail(f"still {self.world.rollout.state} after {self.age} steps: {self.world.gates}")

    def step(self, delay_s: float) -> None:
        if self.age == 3:
            self.world.outside.update((name, make_birth()) for name in self.late)
        for passed_s in (delay_s, 0.0):
            self.look(passed_s)
        for device, conduct in list(self.conducts.items()):
            if device in self.world.members:
                act_out(self.world, device, conduct, self.age)
        self.age += 1

    def look(self, passed_s: float) -> None:
        world = self.world
        before = dict(world.members), world.rollout
        actions = world.tick(passed_s)
        again = world.engine(before[1], list(before[0].values()), world.now_s, [])
        if not any(isinstance(action, act.Join) for action in actions):
            self.deciding_twice_on_the_same_rows_gives_the_same(actions, again)
        for action in actions:
            if isinstance(action, act.Rewind):
                self.sendings = [(min(at_s, world.now_s), device) for at_s, device in self.sendings]
            if isinstance(action, act.Promote):
                self.nothing_is_promoted_without_evidence_or_after_a_breach(action)
            if isinstance(action, act.Send):
                self.nothing_is_sent_outside_a_window_faster_than_the_rate_or_after_a_breach(action)
            if isinstance(action, act.Judge) and self.breach is None:
                self._note_breach(action)
        self.every_device_stands_in_exactly_one_place()
        self.no_more_devices_have_a_breached_version_than_its_wave_and_those_on_the_way()
        self.nobody_is_sent_it_more_often_than_the_plan_says()

    def _note_breach(self, action: act.Judge) -> None:
        breaches = [result for result in action.results if result.verdict == "breach"]
        if breaches:
            self.breach = breaches[0].gate
            trying = [entry for entry in self.world.members.values() if entry.standing in UNSETTLED - FAILED]
            self.wants_evidence = {result.gate for result in breaches} == {"deadline"} and not trying
            self.on_it_at_breach = {device for device, member in self.world.members.items() if member.sent is not None}

    # ------------------------------------------------------------------ the sentences

    def deciding_twice_on_the_same_rows_gives_the_same(self, one: list[act.Action], other: list[act.Action]) -> None:
        assert one == other

    def nothing_is_promoted_without_evidence_or_after_a_breach(self, action: act.Promote) -> None:
        """Counted anew, on purpose."""
        world, plan, wave = self.world, self.world.rollout.plan, action.wave - 1
        assert self.breach is None, "after a breach"
        able = [entry for entry in world.members.values() if entry.wave == wave and entry.standing not in UNCOUNTED]
        committed = [entry for entry in able if entry.standing == "committed"]
        assert all(entry.standing not in PENDING for entry in able), "somebody has not settled"
        if not able:
            assert any(entry.standing == "committed" for entry in world.members.values()), "nobody has committed"
            return
        assert len(committed) >= min(plan.min_devices, len(able)) >= 1, "too few have committed"
        assert sum(entry.behaviour.inferences for entry in able) >= plan.min_inferences, "too few inferences"
        assert all(world.now_s - entry.standing_s >= plan.soak_s for entry in committed), "too early"

    def nothing_is_sent_outside_a_window_faster_than_the_rate_or_after_a_breach(self, action: act.Send) -> None:
        plan, now_s = self.world.rollout.plan, self.world.now_s
        assert self.breach is None, "after a breach"
        assert is_open(plan.windows, now_s), "outside a window"
        self.sendings.append((now_s, action.device))
        if plan.max_sends_per_minute is not None:
            recent = [at_s for at_s, _ in self.sendings if 0 <= now_s - at_s < 60]
            assert len(recent) <= plan.max_sends_per_minute, "too fast"

    def every_device_stands_in_exactly_one_place(self) -> None:
        members = self.world.members.values()
        counts = Counter(entry.standing for entry in members)
        assert set(counts) <= set(get_args(Standing))
        assert sum(counts.values()) == len(members)
        assert all(entry.wave or entry.standing == "incompatible" for entry in members)

    def no_more_devices_have_a_breached_version_than_its_wave_and_those_on_the_way(self) -> None:
        if self.breach is None:
            return
        has = {device for device, (_, wanted) in self.world.documents.items() if wanted == NEW}
        assert has <= self.on_it_at_breach, "somebody got it after the breach"
        how = "hold" if self.wants_evidence else self.world.rollout.plan.on_breach
        members = self.world.members
        if how == "revert":
            assert not has, "somebody keeps it"
        else:
            unsettled = {device for device in has if members[device].standing in UNSETTLED}
            assert not unsettled, "somebody would begin later, when no gate watches"
        if how == "revert-wave" and self.world.rollout.restore_from > 1:
            assert all(members[device].wave < self.world.rollout.restore_from for device in has), "the wave keeps it"

    def nobody_is_sent_it_more_often_than_the_plan_says(self) -> None:
        allowed = 1 + sum(self.world.rollout.plan.retries.values())
        for device, times in Counter(device for _, device in self.sendings).items():
            assert times <= allowed
            assert self.conducts[device] != "old"
            assert 0 < self.world.members[device].wave <= self.world.rollout.wave

    def an_end_says_why_and_fits_what_was_seen(self) -> None:
        rollout, members = self.world.rollout, list(self.world.members.values())
        assert rollout.reason
        if self.breach is not None:
            assert rollout.state in ("reverted", "held"), "a breach always ends reverted or held"
            return
        assert rollout.state == "completed"
        assert any(entry.standing == "committed" for entry in members), "completed without a commit"
        assert not [entry for entry in members if entry.wave and entry.standing in PENDING], (
            "completed with some pending"
        )
        failed = sum(entry.standing in FAILED for entry in members)
        counted = sum(entry.standing not in UNCOUNTED for entry in members)
        assert failed <= max(rollout.plan.max_failures, rollout.plan.max_failure_share * counted)


def act_out(world: World, device: str, conduct: str, age: int) -> None:
    """One step of one device. What is taken back is accepted by all but mute ones."""
    if conduct == "leaves" and age > 2:
        world.change(device, known=False)
    if conduct == "mended" and age == 4:
        world.change(device, birth=make_birth())
    if conduct == "flaps":
        world.change(device, presence=("online", "lost")[age % 2], presence_s=world.now_s)
    if conduct in ("mute", "old"):
        return
    asked, member = world.documents[device][1], world.members[device]
    if asked != NEW or member.sent is None:
        if member.sent is not None:
            world.settle(device)
        return
    if (conduct == "slow" and age < 4) or (conduct == "late" and age < 15):
        world.accept(device)
    elif conduct in ("rejects", "reverts"):
        world.settle(device, "rejected" if conduct == "rejects" else "reverted", "too slow")
    elif conduct == "clumsy" and member.sent.attempts < 2:
        _fail_download(world, device)
    else:
        world.settle(device)
        world.answer(device, 25)
        _misbehave(world, device, conduct)


def _misbehave(world: World, device: str, conduct: str) -> None:
    member = world.members[device]
    if conduct == "crashes":
        world.change(device, behaviour=replace(member.behaviour, crashes=member.behaviour.crashes + 1))
    if conduct == "loses" and member.presence != "lost":
        world.change(device, presence="lost", presence_s=world.now_s)


def _fail_download(world: World, device: str) -> None:
    order, _ = world.documents[device]
    outcome = Outcome(ref=NEW.ref, epoch=order[0], generation=order[1], result="rejected", phase="download")
    world.change(device, accepted=order, report=SlotReport(slot="main", phase="running", outcome=outcome))


SEEN: Counter[str] = Counter()


@settings(max_examples=RUNS, deadline=None)
@given(plans, fleets, cuts, st.integers(0, 3), delays_s)
@example(make_plan(2, max_failures=4), ["good"] * 9_996 + ["reverts", "mute", "late", "clumsy"], [1, 99, 900], 2, [1.0])
@example(make_plan(2, on_breach="revert-wave"), ["good"] * 8_000 + ["reverts"] * 2_000, [1, 5_000], 0, [1.0])
@example(make_plan(2, late_joiners="join", max_sends_per_minute=7), ["good"] * 30, [1, 10], 3, [-90_000.0, 1.0])
def _any_plan_over_any_fleet(
    plan: RolloutPlan, fleet: list[str], sizes: list[int], late: int, passing_s: list[float]
) -> None:
    voyage = Voyage(plan, fleet, sizes, late)
    voyage.run(passing_s)
    SEEN[voyage.world.rollout.state] += 1
    SEEN[f"breach of {voyage.breach}" if voyage.breach else "no breach"] += 1


def test_any_plan_over_any_fleet_ends_with_every_sentence_true(tried: Tried) -> None:
    SEEN.clear()
    _any_plan_over_any_fleet()
    tried(f"{sum(SEEN.values()) // 2} rollouts over 1 to 10,000 devices: {dict(SEEN.most_common())}")
    assert {"completed", "reverted", "held"} <= SEEN.keys(), "each of the ends was seen"


# ---------------------------------------------------------------------- negative controls


def _sabotaged(change: Callable[[Rollout, Sequence[Member]], tuple[Rollout, Sequence[Member]]]) -> Engine:
    """An engine that sees other rows than there are."""

    def engine(
        rollout: Rollout, members: Sequence[Member], now_s: float, newcomers: Sequence[Candidate] = ()
    ) -> list[act.Action]:
        return decide(*change(rollout, list(members)), now_s, newcomers)

    return engine


def _without(**fields: object) -> Engine:
    """An engine that knows nothing of some fields of the plan."""
    return _sabotaged(lambda rollout, members: (replace(rollout, plan=replace(rollout.plan, **fields)), members))


def _forgetful(rollout: Rollout, members: Sequence[Member], now_s: float, newcomers: object = ()) -> list[act.Action]:
    """It leaves those alone who have not settled."""
    found = decide(rollout, members, now_s)
    settled = {member.device for member in members if member.standing == "committed"}
    return [action for action in found if not isinstance(action, act.Restore) or action.device in settled]


def _eager(rollout: Rollout, members: Sequence[Member], now_s: float, newcomers: object = ()) -> list[act.Action]:
    """It takes everything back, and calls that the end of it."""
    found = decide(rollout, members, now_s)
    ends = any(isinstance(action, act.Revert) for action in found)
    kept = [action for action in found if not isinstance(action, act.Revert)]
    return [*kept, act.Finish(state="completed", reason="all have ended")] if ends else kept


def _moody() -> Engine:
    """It remembers how often it was asked."""
    asked = Counter[str]()

    def engine(
        rollout: Rollout, members: Sequence[Member], now_s: float, newcomers: Sequence[Candidate] = ()
    ) -> list[act.Action]:
        asked["times"] += 1
        return decide(rollout, members, now_s, newcomers)[asked["times"] % 2 :]

    return engine


EASY = _without(min_inferences=0)
SPEEDY = _without(max_sends_per_minute=None)
STUBBORN = _without(retries={"download": 9}, retry_after_s=0.0)
AT_SIX = (Window(begin="06:00", end="07:00"),)
BROKEN: list[tuple[str, dict[str, object], list[str], int, Engine, str]] = [
    ("ignores windows", {"windows": AT_SIX}, ["good"], 1, _without(windows=()), "nothing_is_sent_"),
    ("ignores the rate", {"max_sends_per_minute": 1}, ["good"] * 3, 3, SPEEDY, "nothing_is_sent_"),
    ("asks for too little", {"min_inferences": 400}, ["good"] * 3, 1, EASY, "nothing_is_promoted_"),
    ("soaks too briefly", {"soak_s": 100.0}, ["good"] * 3, 1, _without(soak_s=0.0), "nothing_is_promoted_"),
    ("retries for ever", {}, ["clumsy"] * 2, 2, STUBBORN, "nobody_is_sent_"),
    ("keeps what is unsettled", {"on_breach": "hold"}, ["reverts", "mute"], 2, _forgetful, "no_more_devices_"),
    ("takes back the wave only", {}, ["good", "reverts"], 1, _without(on_breach="revert-wave"), "no_more_devices_"),
    ("calls a breach an end", {}, ["reverts", "good"], 1, _eager, "an_end_says_why_"),
    ("has moods", {}, ["good"], 1, _moody(), "deciding_twice_"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "fleet", "size", "engine", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in BROKEN]
)
def test_the_sentence_finds_an_engine_that(
    plan: dict[str, object], fleet: list[str], size: int, engine: Engine, sentence: str
) -> None:
    """The negative controls."""
    sentences = [name for name in vars(Voyage) if name.startswith(sentence)]
    assert len(sentences) == 1
    with found_by(*sentences):
        Voyage(make_plan(2, **plan), fleet, [size], engine=engine).run([1.0])


def test_live_rollouts_are_the_ones_that_the_engine_acts_on() -> None:
    world = World(make_plan(2), [["pi-1"]])
    for state in ("queued", "completed", "reverted", "held", "aborted"):
        assert state not in LIVE
        assert decide(replace(world.rollout, state=state), list(world.members.values()), 1.0) == []
