"""Gates that hold the version against what ran before it.

Rules upheld here:
- Compared is on the same devices, and where hardware decides, within one class of it: a class over the limit is not
  outvoted by the others. A device on which nothing, or too little, ran before is held against its class.
- Quantiles are of merged sketches, never averages. Where there is nothing to compare with, nothing is judged.
"""

import math
from collections.abc import Sequence

from wherry.controller.core import intervals
from wherry.controller.core.behaviour import merged_latency, merged_predictions
from wherry.controller.core.gates.conduct import UNLIMITED, worst
from wherry.controller.core.gates.evidence import Answer, WaveEvidence, hardware, numbers, percent
from wherry.controller.core.gates.rules import Numbers
from wherry.controller.core.intervals import Interval
from wherry.controller.core.members import Member
from wherry.controller.core.plan import RolloutPlan
from wherry.protocol.distances import merged, psi, psi_noise
from wherry.protocol.latency import LatencySketch
from wherry.protocol.up.reported import Agreement

P95 = 0.95
NOTHING_BEFORE = Answer("nothing to compare with")


def latency(evidence: WaveEvidence) -> Answer:
    """p95 against what ran before, in each class of hardware by itself."""
    if evidence.plan.max_p95_ratio is None:
        return UNLIMITED
    answers = [_class_latency(evidence, name, group) for name, group in _classes(evidence.able)]
    return worst("latency", answers) if answers else NOTHING_BEFORE


def _class_latency(evidence: WaveEvidence, name: str, group: Sequence[Member]) -> Answer:
    plan = evidence.plan
    before = _latency_before(evidence, name, group)
    now = merged_latency(entry.behaviour.latency for entry in group)
    if before.count < plan.min_samples:
        return Answer(f"nothing to compare with on {name}")
    if now.count < plan.min_samples:
        return _few(plan, now.count, f"latencies seen on {name}")
    return _p95(plan, name, now, before)


def _latency_before(evidence: WaveEvidence, name: str, group: Sequence[Member]) -> LatencySketch:
    """That of the devices of the wave that answer, else of all of it that ran something, else of all in the class.

    The first of them that has samples enough: the few of one device that answers early are nothing to be held against,
    and no reason to hold it against nothing.
    """
    least = evidence.plan.min_samples
    had = [entry for entry in group if entry.before.latency.counts]
    for some in ([entry for entry in had if entry.behaviour.latency.counts], had):
        before = merged_latency(entry.before.latency for entry in some)
        if before.count >= least:
            return before
    return evidence.latency_before.get(name, LatencySketch())


def _p95(plan: RolloutPlan, name: str, now: LatencySketch, before: LatencySketch) -> Answer:
    limit = plan.max_p95_ratio or 0.0
    p95 = intervals.quantile_ms(now, P95, plan.confidence)
    p95_before = intervals.quantile_ms(before, P95, plan.confidence)
    found = intervals.ratio(p95, p95_before)
    told = (
        f"p95 {p95.value:.2f} ms against {p95_before.value:.2f} ms before "
        f"({found.value:.2f} times, {_ends(found)}) on {name}, limit {limit:g} times"
    )
    more = {"p95_ms": p95.value, "before_ms": p95_before.value, "floor_ms": plan.p95_floor_ms}
    few = {"samples": now.count, "needed": plan.min_samples, "samples_before": before.count}
    return Answer(told, numbers(found, limit, hardware=name, **more, **few))


def memory(evidence: WaveEvidence) -> Answer:
    """The most that workers held, against the most of before, on the devices that told both, by class of hardware."""
    plan = evidence.plan
    if plan.max_memory_ratio is None:
        return UNLIMITED
    told_before = [entry for entry in evidence.able if entry.before.memory_bytes]
    answers = [_class_memory(plan, name, group) for name, group in _classes(told_before)]
    return worst("memory", answers) if answers else NOTHING_BEFORE


def _class_memory(plan: RolloutPlan, name: str, group: Sequence[Member]) -> Answer:
    both = [entry for entry in group if entry.behaviour.memory_bytes]
    if not both:
        known: Numbers = {"devices": 0, "hardware": name} if plan.min_inferences else {}
        return Answer(f"no worker has told its memory yet on {name}", known)
    limit = plan.max_memory_ratio or 0.0
    ratio = sum(entry.behaviour.memory_bytes for entry in both) / sum(entry.before.memory_bytes for entry in both)
    told = f"workers hold {ratio:.2f} times the memory of before on {name}, limit {limit:g} times"
    return Answer(told, {"value": ratio, "limit": limit, "hardware": name, "devices": len(both)})


def drift(evidence: WaveEvidence) -> Answer:
    """The answers against those before on the same devices: population stability index, less what chance brings."""
    plan, limit = evidence.plan, evidence.plan.max_prediction_psi
    if limit is None:
        return UNLIMITED
    had = [entry for entry in evidence.able if entry.before.predictions]
    both = [entry for entry in had if entry.behaviour.predictions]
    now = merged_predictions(entry.behaviour.predictions for entry in both)
    before = merged_predictions(entry.before.predictions for entry in both)
    if sum(before.values()) < plan.min_samples:  # the devices that answer had few, and all of them may have enough
        before = merged_predictions(entry.before.predictions for entry in had)
    samples, others = sum(now.values()), sum(before.values())
    if others < plan.min_samples:
        return NOTHING_BEFORE
    if samples < plan.min_samples:
        return _few(plan, samples, "answers seen")
    value, noise = psi(now, before), psi_noise(len(merged(now, before)), samples, others)
    found = Interval(value=value, low=max(value - noise, 0.0), high=value)
    told = f"answers differ from those before by {value:.3f} (chance: up to {noise:.3f}), limit {limit:g}"
    return Answer(told, numbers(found, limit, samples=samples, needed=plan.min_samples, samples_before=others))


def agreement(evidence: WaveEvidence) -> Answer:
    """How many of the inputs that devices kept got the class from the version that its predecessor had given there."""
    plan, least = evidence.plan, evidence.plan.min_agreement
    if least is None:
        return UNLIMITED
    had = [entry for entry in evidence.able if _follows_a_version(entry)]
    if not had:
        return NOTHING_BEFORE
    measured = [found for entry in had if (found := _agreement_of(entry)) is not None]
    compared, agreed = sum(found.compared for found in measured), sum(found.agreed for found in measured)
    if compared < plan.min_samples:
        whom = f"inputs compared with the version before, on {len(measured)} of {len(had)} devices"
        seen = compared if plan.min_inferences else 0  # who asks for no inferences waits for no more of them either
        return _few(plan, seen, f"{whom}; no more come" if evidence.is_over else whom)
    share = intervals.share(agreed, compared, plan.confidence)
    told = (
        f"{agreed} of {compared} inputs were answered as by the version before ({percent(share)}), on {len(measured)} "
        f"of {len(had)} devices; at least {least:.1%} wanted"
    )
    few = {"samples": compared, "needed": plan.min_samples}
    return Answer(told, numbers(share, least, devices=len(measured), of=len(had), is_over=evidence.is_over, **few))


def _follows_a_version(member: Member) -> bool:
    """Of the same model, and not the very same: that is not tested again."""
    if member.sent is None or member.sent.previous is None:
        return False
    before, now = member.sent.previous, member.sent.assignment
    return before.model == now.model and before.artifact != now.artifact


def _agreement_of(member: Member) -> Agreement | None:
    """What the device has told of this very version."""
    told = None if member.report is None else member.report.agreement
    is_of_it = told is not None and member.sent is not None and told.artifact == member.sent.assignment.artifact
    return told if is_of_it else None


def _few(plan: RolloutPlan, seen: int, what: str) -> Answer:
    """Too few are waited for; none are not, where the plan asks for no inferences at all."""
    if not seen and not plan.min_inferences:
        return Answer(f"no {what}, and the plan asks for no inferences")
    return Answer(f"{seen} of {plan.min_samples} needed {what}", {"samples": seen, "needed": plan.min_samples})


def _classes(members: Sequence[Member]) -> list[tuple[str, list[Member]]]:
    """Members by class of hardware, by name."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(hardware(member), []).append(member)
    return sorted(found.items())


def _ends(found: Interval) -> str:
    return f"{found.low:.2f} to {found.high:.2f}" if math.isfinite(found.high) else f"{found.low:.2f} or more"
