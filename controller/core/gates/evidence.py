"""What gates are given, and what they answer."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from msgspec.structs import replace

from wherry.controller.core.behaviour import merged_latency
from wherry.controller.core.gates.rules import Numbers, Verdict
from wherry.controller.core.intervals import Interval
from wherry.controller.core.members import Member, Rollout
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.standing import PENDING, UNCOUNTED
from wherry.protocol.latency import LatencySketch
from wherry.protocol.types import Struct


class GateResult(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`evidence` are the numbers that the verdict follows from, by `rules.verdict_of`."""

    gate: str
    verdict: Verdict
    reason: str
    evidence: Numbers = {}


class Answer(Struct, frozen=True):
    """What was found, in words and in numbers. No numbers mean that there is nothing to judge.

    `blame` is added to the words where the verdict is a breach.
    """

    told: str
    known: Numbers = {}
    blame: str = ""


class WaveEvidence(Struct, frozen=True, kw_only=True, dict=True):
    """`members` are of all waves opened so far, with the standing that they have at `now_s`.

    Of an earlier wave by itself it is made by `earlier`, and `whole` is what it was made of.
    """

    rollout: Rollout
    members: tuple[Member, ...]
    now_s: float
    whole: "WaveEvidence | None" = None

    @property
    def plan(self) -> RolloutPlan:
        return self.rollout.plan

    @cached_property
    def able(self) -> list[Member]:
        """Those of the open wave that count."""
        return self.by_wave.get(self.rollout.wave, [])

    @cached_property
    def earlier(self) -> list["WaveEvidence"]:
        """Each earlier wave that has devices which count, as if it were the open one."""
        before = sorted(wave for wave in self.by_wave if wave < self.rollout.wave)
        return [replace(self, rollout=replace(self.rollout, wave=wave), whole=self) for wave in before]

    @cached_property
    def by_wave(self) -> Mapping[int, list[Member]]:
        """Those that count, by wave: told apart once, since they may be many."""
        if self.whole is not None:
            return self.whole.by_wave
        found: dict[int, list[Member]] = {}
        for entry in self.members:
            if entry.standing not in UNCOUNTED:
                found.setdefault(entry.wave, []).append(entry)
        return found

    @cached_property
    def latency_before(self) -> Mapping[str, LatencySketch]:
        """What ran before on all members, by class of hardware."""
        if self.whole is not None:
            return self.whole.latency_before
        found: dict[str, list[LatencySketch]] = {}
        for entry in self.members:
            if entry.before.latency.counts:
                found.setdefault(hardware(entry), []).append(entry.before.latency)
        return {name: merged_latency(sketches) for name, sketches in found.items()}

    @cached_property
    def is_over(self) -> bool:
        """Every device of the wave has settled and the soak has passed: nothing more is to be learnt from waiting."""
        able = self.able
        if any(entry.standing in PENDING for entry in able):
            return False
        return self.now_s - max((entry.standing_s for entry in able), default=0.0) >= self.plan.soak_s


def hardware(member: Member) -> str:
    """The class of hardware that the device is of, as an operator would name it."""
    birth = member.birth
    if birth is None:
        return "unknown hardware"
    return ", ".join((birth.machine, f"{birth.cpu_count} CPUs", *birth.accelerators))


Gate = Callable[[WaveEvidence], Answer]


def numbers(found: Interval, limit: float, **more: float | bool | str) -> Numbers:
    """An end that the samples do not bound is left out."""
    ends = {"low": found.low, "high": found.high}
    return {
        "value": found.value,
        **{end: value for end, value in ends.items() if math.isfinite(value)},
        "limit": limit,
        **more,
    }


def named(entries: Sequence[Member]) -> str:
    """The first of them with its reason, and how many more."""
    first = entries[0]
    told = f"{first.device} {first.standing}" + (f" ({first.reason})" if first.reason else "")
    return told + (f" and {len(entries) - 1} more" if len(entries) > 1 else "")


def percent(found: Interval) -> str:
    return f"{found.value:.1%}, {found.low:.1%} to {found.high:.1%}"
