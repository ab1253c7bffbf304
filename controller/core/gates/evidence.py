"""What gates are given, and what they answer."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property

from wherry.controller.core.gates.rules import Numbers, Verdict
from wherry.controller.core.intervals import Interval
from wherry.controller.core.members import Member, Rollout
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.standing import PENDING, UNCOUNTED
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
    """`members` are of all waves opened so far, with the standing that they have at `now_s`."""

    rollout: Rollout
    members: tuple[Member, ...]
    now_s: float

    @property
    def plan(self) -> RolloutPlan:
        return self.rollout.plan

    @cached_property
    def able(self) -> list[Member]:
        """Those of the open wave that count."""
        wave = self.rollout.wave
        return [entry for entry in self.members if entry.wave == wave and entry.standing not in UNCOUNTED]

    @cached_property
    def is_over(self) -> bool:
        """Every device of the wave has settled and the soak has passed: nothing more is to be learnt from waiting."""
        able = self.able
        if any(entry.standing in PENDING for entry in able):
            return False
        return self.now_s - max((entry.standing_s for entry in able), default=0.0) >= self.plan.soak_s


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
