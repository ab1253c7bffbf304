"""What the rollout engine upholds over any fleet, whatever its devices do and whenever it is asked."""

from collections import Counter
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.controller_values import TFLITE, make_birth, make_plan
from tests.support.controls import found_by
from tests.support.rollout_world import NEW, World
from wherry.controller.core import actions as act
from wherry.controller.core.members import Member, Standing
from wherry.controller.core.standing import FAILED, PENDING, UNCOUNTED
from wherry.protocol.up.reported import QuarantineEntry, SlotReport

CONDUCTS = (
    "good",
    "good",
    "good",
    "slow",
    "rejects",
    "reverts",
    "hangs",
    "mute",
    "late",
    "unborn",
    "old",
    "leaves",
    "bad",
)
"""What a device does with the version; see `act_out`."""

OLD_BIRTH = make_birth(TFLITE, protocol_versions=(0,))

conducts = st.lists(st.sampled_from(CONDUCTS), min_size=1, max_size=200)
plans = st.builds(
    make_plan,
    version=st.just(2),
    soak_s=st.sampled_from([0.0, 15.0]),
    min_devices=st.integers(1, 3),
    min_inferences=st.sampled_from([0, 50, 400]),
    max_failures=st.integers(0, 4),
    max_failure_share=st.sampled_from([0.0, 0.0, 0.3]),
    on_breach=st.sampled_from(["revert", "hold"]),
)
cuts = st.lists(st.integers(1, 60), min_size=1, max_size=6)
delays_s = st.lists(st.sampled_from([0.0, 1.0, 5.0, 20.0, 101.0]), min_size=1, max_size=25)


def build(plan_and_fleet: tuple[msgspec.Struct, list[str], list[int]]) -> tuple[World, dict[str, str]]:
    plan, fleet, sizes = plan_and_fleet
    names = {f"pi-{number}": conduct for number, conduct in enumerate(fleet)}
    births = {name: {"unborn": None, "old": OLD_BIRTH}.get(conduct, make_birth()) for name, conduct in names.items()}
    waves, rest = [], list(names)
    while rest:
        size = sizes[min(len(waves), len(sizes) - 1)]
        waves.append(rest[:size])
        rest = rest[size:]
    world = World(plan, waves, births=births)  # type: ignore[arg-type]
    for name, conduct in names.items():
        if conduct == "bad":
            entry = QuarantineEntry(artifact=NEW.artifact, reason="crashed last week")
            world.change(name, report=SlotReport(slot="main", phase="running", quarantine=(entry,)))
    return world, names


def act_out(world: World, device: str, conduct: str, age: int) -> None:
    """One step of one device. Restored documents are accepted by all but mute ones."""
    asked = world.documents[device][1]
    if conduct == "leaves" and age > 2:
        world.change(device, known=False)
    if conduct in ("mute", "unborn", "old", "bad"):
        return
    if asked != NEW:
        if world.members[device].sent is not None:
            world.settle(device)
        return
    if conduct == "hangs" or (conduct == "slow" and age < 4) or (conduct == "late" and age < 15):
        world.accept(device)
    elif conduct in ("rejects", "reverts"):
        world.settle(device, "rejected" if conduct == "rejects" else "reverted", "too slow")
    else:
        world.settle(device)
        world.answer(device, 25)


class Voyage:
    """Runs a rollout step by step, and checks after every one what must never be broken.

    Every step decides twice at the same moment, as a controller killed and started again would.
    """

    def __init__(self, world: World, names: dict[str, str]) -> None:
        self.world, self.names = world, names
        self.breached = False

    def run(self, delays_s: list[float]) -> None:
        for age, delay_s in enumerate(delays_s):
            self.step(age, delay_s)
        for age in range(200):
            if self.world.ended:
                return
            self.step(len(delays_s) + age, 21.0)
        pytest.fail(f"still {self.world.rollout.state} after 200 steps: {self.world.gates}")

    def step(self, age: int, delay_s: float) -> None:
        for passed_s in (delay_s, 0.0):
            wave = self.world.rollout.wave
            self.check_actions(self.world.tick(passed_s), wave)
        for device, conduct in self.names.items():
            act_out(self.world, device, conduct, age)
        self.check_rows()

    def check_actions(self, actions: list[act.Action], wave: int) -> None:
        for action in actions:
            if isinstance(action, act.Promote):
                assert not self.breached, "nothing is promoted after a breach"
                assert action.wave == wave + 1
                self.check_evidence(wave)
            if isinstance(action, act.Send):
                assert not self.breached, "nothing is sent after a breach"
        judged = [result for action in actions if isinstance(action, act.Judge) for result in action.results]
        self.breached = self.breached or any(result.verdict == "breach" for result in judged)

    def check_evidence(self, wave: int) -> None:
        """A wave is never left without the evidence that the plan asks for. Counted anew, on purpose."""
        plan, members = self.world.rollout.plan, self.world.members.values()
        able = [entry for entry in members if entry.wave == wave and entry.standing not in UNCOUNTED]
        committed = [entry for entry in able if entry.standing == "committed"]
        assert all(entry.standing not in PENDING for entry in able)
        if able:
            assert len(committed) >= min(plan.min_devices, len(able)) >= 1
            assert sum(entry.behaviour.inferences for entry in able) >= plan.min_inferences
            assert all(self.world.now_s - entry.standing_s >= plan.soak_s for entry in committed)
        else:
            assert any(entry.standing == "committed" and entry.wave < wave for entry in members)
        opened = [entry for entry in members if entry.wave <= wave and entry.standing not in UNCOUNTED]
        failed = sum(entry.standing in FAILED for entry in opened)
        assert failed <= max(plan.max_failures, plan.max_failure_share * len(opened))

    def check_rows(self) -> None:
        sent = Counter(self.world.sent())
        assert all(times == 1 for times in sent.values()), "no device is sent the version twice"
        for device, member in self.world.members.items():
            assert member.standing in get_args(Standing), "every device stands in exactly one place"
            assert (member.sent is not None) == (device in sent)
            assert not (device in sent and member.wave > self.world.rollout.wave), "only open waves are sent"
            assert not (device in sent and self.names[device] in ("unborn", "old", "bad"))

    def check_end(self) -> None:
        state, members = self.world.rollout.state, list(self.world.members.values())
        assert self.world.rollout.reason, "an end says why"
        if self.breached:
            assert state in ("reverted", "held"), "a breach never ends well"
        else:
            assert state == "completed"
            assert any(entry.standing == "committed" for entry in members)
        if state == "reverted":
            assert all(document != NEW for _, document in self.world.documents.values()), "it is taken back everywhere"
        if state == "held":
            unsettled = [
                entry for entry in members if entry.sent and entry.standing in ("sent", "in-progress", "silent")
            ]
            assert [entry for entry in members if entry.restored] == unsettled, "nobody is left who would begin later"
            assert all(self.world.documents[entry.device][1] != NEW for entry in unsettled)


@settings(max_examples=100, deadline=None)
@given(st.tuples(plans, conducts, cuts), delays_s)
@example((make_plan(2, max_failures=3), ["good"] * 197 + ["reverts", "mute", "late"], [1, 20, 60]), [1.0])
@example((make_plan(2), ["good"] * 120 + ["reverts"] * 80, [1, 60]), [1.0])
def test_any_fleet_ends_with_the_invariants_whole(
    world_of: tuple[msgspec.Struct, list[str], list[int]], passing_s: list[float]
) -> None:
    voyage = Voyage(*build(world_of))
    voyage.run(passing_s)
    voyage.check_end()


@settings(max_examples=100, deadline=None)
@given(st.tuples(plans, conducts, cuts), delays_s, st.integers(0, 20), st.sampled_from(["paused", "reverting"]))
def test_an_operator_may_interfere_at_any_moment(
    world_of: tuple[msgspec.Struct, list[str], list[int]], passing_s: list[float], moment: int, state: str
) -> None:
    """A pause sends nothing; an abort takes the version back from every device that it was sent to."""
    world, names = build(world_of)
    voyage = Voyage(world, names)
    for age, delay_s in enumerate(passing_s[:moment]):
        voyage.step(age, delay_s)
    if world.ended or world.rollout.state == "reverting":
        return
    world.rollout = msgspec.structs.replace(world.rollout, state=state, ending="aborted", reason="the operator")
    before = len(world.sent())
    for age in range(12):
        voyage.step(age, 50.0)
    assert len(world.sent()) == before
    if state == "reverting":
        assert world.rollout.state == "aborted"
        assert all(document != NEW for _, document in world.documents.values())


def test_the_checks_notice_an_engine_that_promotes_too_early() -> None:
    """The negative control: evidence that is missing must be found missing."""
    world, names = build((make_plan(2, min_inferences=400), ["good"] * 3, [1]))  # type: ignore[arg-type]
    voyage = Voyage(world, names)
    voyage.step(0, 1.0)
    with found_by("check_evidence"):
        voyage.check_evidence(1)


def test_the_checks_notice_a_device_that_is_sent_the_version_twice() -> None:
    world, names = build((make_plan(2), ["good"], [1]))  # type: ignore[arg-type]
    voyage = Voyage(world, names)
    voyage.step(0, 1.0)
    world.told.append(act.Send(device="pi-0", variant="int8"))
    with pytest.raises(AssertionError, match="twice"):
        voyage.check_rows()


def test_members_are_values() -> None:
    """The engine cannot keep state in what it is given."""
    with pytest.raises(AttributeError):
        Member(device="pi-1", wave=1).standing = "committed"  # type: ignore[misc]
