"""The gates between two waves: what must hold, one function each.

A gate looks at the evidence and answers ok, wait or breach, with the numbers. All must be ok to promote;
one breach stops the rollout. A new gate is one function and one row in `GATES`.

Failures are counted over the whole rollout; every other figure is that of the open wave, so that good
early waves cannot hide a bad late one.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from wherry.controller.core.members import Member
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.standing import FAILED, PENDING, UNCOUNTED
from wherry.protocol.latency import LatencyWindow
from wherry.protocol.types import Struct

Verdict = Literal["ok", "wait", "breach"]


class GateResult(Struct, frozen=True, kw_only=True, omit_defaults=False):
    gate: str
    verdict: Verdict
    reason: str


class WaveEvidence(Struct, frozen=True, kw_only=True):
    """`members` are of all waves opened so far, with the standing that they have at `now_s`."""

    plan: RolloutPlan
    wave: int
    members: tuple[Member, ...]
    now_s: float

    @property
    def able(self) -> list[Member]:
        """Those of the open wave that count."""
        return [entry for entry in self.members if entry.wave == self.wave and entry.standing not in UNCOUNTED]

    @property
    def committed(self) -> list[Member]:
        return [entry for entry in self.able if entry.standing == "committed"]


Answer = tuple[Verdict, str]
Gate = Callable[[WaveEvidence], Answer]


def failures(evidence: WaveEvidence) -> Answer:
    """Devices that failed, as a count and as a share of those reached; the larger allowance holds."""
    plan = evidence.plan
    failed = [entry for entry in evidence.members if entry.standing in FAILED]
    reached = sum(entry.standing not in UNCOUNTED for entry in evidence.members)
    allowed = max(plan.max_failures, int(plan.max_failure_share * reached))
    if len(failed) <= allowed:
        return "ok", f"{len(failed)} of {reached} devices failed, {allowed} allowed"
    first = failed[0]
    told = f"{first.device} {first.standing}" + (f" ({first.reason})" if first.reason else "")
    return "breach", f"{len(failed)} of {reached} devices failed, {allowed} allowed: {told}{_more(failed)}"


def settled(evidence: WaveEvidence) -> Answer:
    """Every device of the wave that can run it has ended its attempt, well or badly."""
    pending = [entry for entry in evidence.able if entry.standing in PENDING]
    if not pending:
        return "ok", f"{len(evidence.able)} of {len(evidence.able)} devices of the wave have settled"
    first = pending[0]
    told = f"{first.device} {first.standing}" + (f" ({first.reason})" if first.reason else "")
    return "wait", f"{len(pending)} of {len(evidence.able)} devices have not settled: {told}{_more(pending)}"


def devices(evidence: WaveEvidence) -> Answer:
    """Enough devices have committed. A wave in which nobody can run it leans on an earlier wave's commits."""
    able, committed = evidence.able, evidence.committed
    if not able:
        if any(entry.standing == "committed" for entry in evidence.members):
            return "ok", "no device of this wave can run it; earlier waves committed"
        return "breach", "no device so far can run it, so there is no evidence"
    needed = min(evidence.plan.min_devices, len(able))
    told = f"{len(committed)} of {needed} needed devices committed"
    if len(committed) >= needed:
        return "ok", told
    possible = len(committed) + sum(entry.standing in PENDING for entry in able)
    return ("wait", told) if possible >= needed else ("breach", f"{told}, and only {possible} still can")


def inferences(evidence: WaveEvidence) -> Answer:
    """Enough answers by the version on this wave's devices."""
    needed = evidence.plan.min_inferences if evidence.able else 0
    seen = sum(entry.evidence.inferences for entry in evidence.able)
    return ("ok" if seen >= needed else "wait"), f"{seen} of {needed} needed inferences seen"


def errors(evidence: WaveEvidence) -> Answer:
    """The share of requests that the version failed to answer."""
    plan = evidence.plan
    wrong = sum(entry.evidence.errors for entry in evidence.able)
    requests = wrong + sum(entry.evidence.inferences for entry in evidence.able)
    if requests < plan.min_samples:
        return "ok", f"{wrong} errors in {requests} requests, too few to judge"
    told = f"{wrong} errors in {requests} requests ({wrong / requests:.1%}), limit {plan.max_error_share:.1%}"
    return ("breach" if wrong > plan.max_error_share * requests else "ok"), told


def latency(evidence: WaveEvidence) -> Answer:
    """p95 against what the same devices ran before, from sketches merged over those that have both."""
    plan = evidence.plan
    if plan.max_p95_ratio is None:
        return "ok", "no limit set"
    both = [entry.evidence for entry in evidence.able if entry.evidence.latency.count and entry.evidence.before.count]
    now = LatencyWindow(entry.latency for entry in both)
    before = LatencyWindow(entry.before for entry in both)
    p95_ms, before_ms = now.quantile_ms(0.95), before.quantile_ms(0.95)
    if p95_ms is None or before_ms is None or min(now.count, before.count) < plan.min_samples:
        return "ok", "nothing to compare with yet"
    ratio = p95_ms / before_ms
    told = (
        f"p95 {p95_ms:.2f} ms against {before_ms:.2f} ms before ({ratio:.2f} times), limit {plan.max_p95_ratio:g} times"
    )
    return ("breach" if ratio > plan.max_p95_ratio and p95_ms > plan.p95_floor_ms else "ok"), told


def soak(evidence: WaveEvidence) -> Answer:
    """Time since the last device of the wave committed."""
    soak_s = evidence.plan.soak_s if evidence.able else 0.0
    if any(entry.standing in PENDING for entry in evidence.able):
        return ("wait" if soak_s else "ok"), f"begins when the wave has settled, {soak_s:g} s"
    since_s = max((entry.standing_s for entry in evidence.able), default=evidence.now_s)
    passed_s = evidence.now_s - since_s
    return ("ok" if passed_s >= soak_s else "wait"), f"{min(passed_s, soak_s):.0f} s of {soak_s:g} s passed"


GATES: tuple[tuple[str, Gate], ...] = (
    ("failures", failures),
    ("errors", errors),
    ("latency", latency),
    ("settled", settled),
    ("devices", devices),
    ("inferences", inferences),
    ("soak", soak),
)
"""In the order in which an operator wants to hear of them."""


def judge(evidence: WaveEvidence) -> tuple[GateResult, ...]:
    """Ask every gate."""
    answers = ((name, gate(evidence)) for name, gate in GATES)
    return tuple(GateResult(gate=name, verdict=verdict, reason=reason) for name, (verdict, reason) in answers)


def _more(entries: Sequence[Member]) -> str:
    return f" and {len(entries) - 1} more" if len(entries) > 1 else ""
