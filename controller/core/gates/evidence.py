"""What gates are given, and what they answer.

Rules upheld here:
- A figure with an interval is a breach where all of the interval is over the limit, and is waited for where the figure
  is over it and a part of the interval is not.
- An answer names the numbers that it was made from, so that it can be made again from them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

from wherry.controller.core.intervals import Interval
from wherry.controller.core.members import Member, Rollout
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.standing import PENDING, UNCOUNTED
from wherry.protocol.types import Struct

Verdict = Literal["ok", "wait", "breach"]
Numbers = Mapping[str, float | bool | str]


class GateResult(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`evidence` are the numbers behind the verdict; its `limit` is what `value`, `low` and `high` are held to."""

    gate: str
    verdict: Verdict
    reason: str
    evidence: Numbers = {}


class Answer(Struct, frozen=True):
    verdict: Verdict
    reason: str
    evidence: Numbers = {}


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


def held_to(found: Interval, limit: float) -> Verdict:
    """Whether the figure is over the limit, as far as can be told."""
    if found.low > limit:
        return "breach"
    return "wait" if found.value > limit else "ok"


def held_up_to(found: Interval, least: float) -> Verdict:
    """Whether the figure is under what it should reach, as far as can be told."""
    if found.high < least:
        return "breach"
    return "wait" if found.value < least else "ok"


def numbers(found: Interval, limit: float, **more: float | bool | str) -> Numbers:
    return {"value": found.value, "low": found.low, "high": found.high, "limit": limit, **more}


def named(entries: Sequence[Member]) -> str:
    """The first of them with its reason, and how many more."""
    first = entries[0]
    told = f"{first.device} {first.standing}" + (f" ({first.reason})" if first.reason else "")
    return told + (f" and {len(entries) - 1} more" if len(entries) > 1 else "")
