"""Gates on how the version behaves on the devices of the open wave, against limits and against its predecessor there.

Only the open wave is looked at, so that good early waves cannot hide a bad late one. What is compared with the
predecessor is compared on the same devices and, where hardware decides, within one class of it.
"""

from collections.abc import Iterable, Sequence

from wherry.controller.core import intervals
from wherry.controller.core.behaviour import Behaviour, merged_latency, merged_predictions
from wherry.controller.core.gates.evidence import Answer, Numbers, Verdict, WaveEvidence, held_to, held_up_to, numbers
from wherry.controller.core.members import Member
from wherry.protocol.distances import merged, psi, psi_noise

UNLIMITED = Answer("ok", "no limit set")
P95 = 0.95
WORST: tuple[Verdict, ...] = ("breach", "wait", "ok")


def errors(evidence: WaveEvidence) -> Answer:
    """The share of requests that the version failed to answer."""
    plan, able = evidence.plan, evidence.able
    wrong = sum(entry.behaviour.errors for entry in able)
    requests = wrong + sum(entry.behaviour.inferences for entry in able)
    if requests < plan.min_samples:
        return Answer("ok", f"{wrong} errors in {requests} requests, too few to judge")
    found = intervals.share(wrong, requests, plan.confidence)
    told = f"{wrong} errors in {requests} requests ({_percent(found)}), limit {plan.max_error_share:.1%}"
    known = numbers(found, plan.max_error_share, errors=wrong, samples=requests)
    return Answer(held_to(found, plan.max_error_share), told, known)


def latency(evidence: WaveEvidence) -> Answer:
    """p95 against what ran before, in each class of hardware by itself; from sketches, never from averages."""
    limit = evidence.plan.max_p95_ratio
    if limit is None:
        return UNLIMITED
    answers = [_class_latency(evidence, name, group, limit) for name, group in _classes(evidence.able)]
    return _worst(answers) if answers else Answer("ok", "nothing to compare with yet")


def _class_latency(evidence: WaveEvidence, name: str, group: Sequence[Member], limit: float) -> Answer:
    plan = evidence.plan
    both = [entry for entry in group if entry.behaviour.latency.count and entry.before.latency.count]
    now = merged_latency(entry.behaviour.latency for entry in both or group)
    before = merged_latency(entry.before.latency for entry in both or group)
    if before.count < plan.min_samples:
        return Answer("ok", f"nothing to compare with on {name}")
    if now.count < plan.min_samples:
        told = f"{now.count} of {plan.min_samples} needed latencies seen on {name}"
        return Answer("wait" if plan.min_inferences else "ok", told)
    p95 = intervals.quantile_ms(now, P95, plan.confidence)
    p95_before = intervals.quantile_ms(before, P95, plan.confidence)
    found = intervals.ratio(p95, p95_before)
    told = (
        f"p95 {p95.value:.2f} ms against {p95_before.value:.2f} ms before ({found.value:.2f} times, "
        f"{found.low:.2f} to {found.high:.2f}) on {name}, limit {limit:g} times"
    )
    known = numbers(
        found, limit, p95_ms=p95.value, before_ms=p95_before.value, floor_ms=plan.p95_floor_ms, hardware=name
    )
    return Answer(held_to(found, limit) if p95.value > plan.p95_floor_ms else "ok", told, known)


def crashes(evidence: WaveEvidence) -> Answer:
    """The share of devices on which the worker of the version crashed."""
    limit = evidence.plan.max_crash_share
    tried = [entry for entry in evidence.able if entry.sent is not None]
    if limit is None or not tried:
        return UNLIMITED if limit is None else Answer("ok", "sent to nobody yet")
    crashed = [entry for entry in tried if entry.behaviour.crashes]
    times = sum(entry.behaviour.crashes for entry in crashed)
    return _devices_share(evidence, crashed, len(tried), limit, f"devices had a worker that crashed, {times} times")


def connection(evidence: WaveEvidence) -> Answer:
    """The share of devices that lost their connection after they had taken the version, and stay away."""
    limit, after_s = evidence.plan.max_lost_share, evidence.plan.lost_after_s
    switched = [entry for entry in evidence.able if entry.standing == "committed" and entry.sent is not None]
    if limit is None or not switched:
        return UNLIMITED if limit is None else Answer("ok", "committed by nobody yet")
    lost = [entry for entry in switched if _is_lost(entry)]
    gone = [entry for entry in lost if evidence.now_s - entry.presence_s >= after_s]
    told = f"devices lost their connection for {after_s:g} s or more after the switch"
    answer = _devices_share(evidence, gone, len(switched), limit, told)
    if answer.verdict == "ok" and len(lost) > limit * len(switched):
        return Answer("wait", f"{lost[0].device} lost its connection less than {after_s:g} s ago", answer.evidence)
    return answer


def _is_lost(member: Member) -> bool:
    return member.presence == "lost" and member.sent is not None and member.presence_s >= member.sent.at_s


def _devices_share(evidence: WaveEvidence, found: Sequence[Member], whole: int, limit: float, what: str) -> Answer:
    """Devices are few, and once the wave is over no more come: then the figure itself is held to the limit."""
    interval = intervals.share(len(found), whole, evidence.plan.confidence)
    verdict = held_to(interval, limit)
    if verdict == "wait" and evidence.is_over:
        verdict = "breach"
    first = f": {found[0].device}" if found else ""
    told = f"{len(found)} of {whole} {what} ({_percent(interval)}), limit {limit:.1%}{first}"
    known = numbers(interval, limit, devices=len(found), of=whole, is_over=evidence.is_over)
    return Answer(verdict, told, known)


def memory(evidence: WaveEvidence) -> Answer:
    """The worker's memory against that before, on the devices that told both, in each class of hardware by itself."""
    limit = evidence.plan.max_memory_ratio
    if limit is None:
        return UNLIMITED
    both = [entry for entry in evidence.able if entry.behaviour.memory_bytes and entry.before.memory_bytes]
    answers = [_class_memory(name, group, limit) for name, group in _classes(both)]
    return _worst(answers) if answers else Answer("ok", "nothing to compare with yet")


def _class_memory(name: str, group: Sequence[Member], limit: float) -> Answer:
    now = sum(entry.behaviour.memory_bytes for entry in group)
    before = sum(entry.before.memory_bytes for entry in group)
    told = f"workers hold {now / before:.2f} times the memory of before on {name}, limit {limit:g} times"
    known: Numbers = {"value": now / before, "limit": limit, "hardware": name, "devices": len(group)}
    return Answer("breach" if now > limit * before else "ok", told, known)


def drift(evidence: WaveEvidence) -> Answer:
    """The answers against those before on the same devices: population stability index, less what chance brings."""
    plan, limit = evidence.plan, evidence.plan.max_prediction_psi
    if limit is None:
        return UNLIMITED
    both = [entry for entry in evidence.able if entry.behaviour.predictions and entry.before.predictions]
    now = merged_predictions(entry.behaviour.predictions for entry in both)
    before = merged_predictions(entry.before.predictions for entry in both)
    samples, others = sum(now.values()), sum(before.values())
    if others < plan.min_samples:
        return Answer("ok", "nothing to compare with yet")
    if samples < plan.min_samples:
        told = f"{samples} of {plan.min_samples} needed answers seen"
        return Answer("wait" if plan.min_inferences else "ok", told)
    value, noise = psi(now, before), psi_noise(len(merged(now, before)), samples, others)
    told = f"answers differ from those before by {value:.3f} (chance: up to {noise:.3f}), limit {limit:g}"
    known: Numbers = {"value": value, "low": max(value - noise, 0.0), "high": value, "limit": limit, "samples": samples}
    return Answer("breach" if value > limit + noise else "ok", told, known)


def accuracy(evidence: WaveEvidence) -> Answer:
    """Right answers of those with a label: the share itself, and by how much it fell on the same devices."""
    plan, able = evidence.plan, evidence.able
    labelled, correct = _labelled(entry.behaviour for entry in able)
    if plan.min_accuracy is None and plan.max_accuracy_drop is None:
        return UNLIMITED
    if labelled < plan.min_samples:
        return Answer("ok" if not labelled else "wait", f"{labelled} of {plan.min_samples} needed labels seen")
    answers = []
    if plan.min_accuracy is not None:
        right = intervals.share(correct, labelled, plan.confidence)
        told = f"{correct} of {labelled} labelled inferences right, at least {plan.min_accuracy:.1%} wanted"
        known = numbers(right, plan.min_accuracy, samples=labelled)
        answers.append(Answer(held_up_to(right, plan.min_accuracy), told, known))
    before, correct_before = _labelled(entry.before for entry in able)
    if plan.max_accuracy_drop is not None and before >= plan.min_samples:
        fall = intervals.drop((correct_before, before), (correct, labelled), plan.confidence)
        told = (
            f"accuracy fell by {fall.value:.1%} ({fall.low:.1%} to {fall.high:.1%}), limit {plan.max_accuracy_drop:.1%}"
        )
        known = numbers(fall, plan.max_accuracy_drop, samples=labelled, samples_before=before)
        answers.append(Answer(held_to(fall, plan.max_accuracy_drop), told, known))
    return _worst(answers) if answers else Answer("ok", "nothing to compare with yet")


def _labelled(behaviours: Iterable[Behaviour]) -> tuple[int, int]:
    """How many had a label, and how many of those were right."""
    labelled = correct = 0
    for entry in behaviours:
        labelled, correct = labelled + entry.labelled, correct + entry.correct
    return labelled, correct


def _classes(members: Sequence[Member]) -> list[tuple[str, list[Member]]]:
    """Members by class of hardware, by name."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(_hardware(member), []).append(member)
    return sorted(found.items())


def _hardware(member: Member) -> str:
    birth = member.birth
    if birth is None:
        return "unknown hardware"
    parts = (birth.machine, f"{birth.cpu_count} CPUs", *birth.accelerators)
    return ", ".join(parts)


def _worst(answers: Sequence[Answer]) -> Answer:
    """The first of the gravest."""
    return min(answers, key=lambda answer: WORST.index(answer.verdict))


def _percent(found: intervals.Interval) -> str:
    return f"{found.value:.1%}, {found.low:.1%} to {found.high:.1%}"
