"""Gates on how the version behaves on the devices of the open wave, against limits that the plan names."""

from collections.abc import Iterable, Sequence

from wherry.controller.core import intervals
from wherry.controller.core.behaviour import Behaviour
from wherry.controller.core.gates.evidence import Answer, WaveEvidence, numbers, percent
from wherry.controller.core.gates.rules import Numbers, verdict_of
from wherry.controller.core.members import Member

UNLIMITED = Answer("no limit set")


def errors(evidence: WaveEvidence) -> Answer:
    """The share of requests that the version failed to answer. How many there must be, `inferences` says."""
    plan, able = evidence.plan, evidence.able
    wrong = sum(entry.behaviour.errors for entry in able)
    requests = wrong + sum(entry.behaviour.inferences for entry in able)
    if not requests:
        return Answer("no requests seen yet")
    found = intervals.share(wrong, requests, plan.confidence)
    told = f"{wrong} errors in {requests} requests ({percent(found)}), limit {plan.max_error_share:.1%}"
    known = numbers(found, plan.max_error_share, errors=wrong, samples=requests, needed=plan.min_samples)
    return Answer(told if requests >= plan.min_samples else f"{told}: too few to be a breach", known)


def crashes(evidence: WaveEvidence) -> Answer:
    """The share of devices on which the worker of the version crashed."""
    limit = evidence.plan.max_crash_share
    tried = [entry for entry in evidence.able if entry.sent is not None]
    if limit is None or not tried:
        return UNLIMITED if limit is None else Answer("sent to nobody yet")
    crashed = [entry for entry in tried if entry.behaviour.crashes]
    times = sum(entry.behaviour.crashes for entry in crashed)
    return _of_devices(evidence, crashed, len(tried), limit, f"devices had a worker that crashed, {times} times")


def connection(evidence: WaveEvidence) -> Answer:
    """The share of devices that lost their connection after they had taken the version, and stay away."""
    limit, after_s = evidence.plan.max_lost_share, evidence.plan.lost_after_s
    switched = [entry for entry in evidence.able if entry.standing == "committed" and entry.sent is not None]
    if limit is None or not switched:
        return UNLIMITED if limit is None else Answer("committed by nobody yet")
    lost = [entry for entry in switched if _is_lost(entry)]
    gone = [entry for entry in lost if evidence.now_s - entry.presence_s >= after_s]
    told = f"devices lost their connection for {after_s:g} s or more after the switch"
    found = _of_devices(evidence, gone, len(switched), limit, told)
    known = {**found.known, "lost": len(lost)}
    if len(lost) > len(gone):
        told = f"{found.told}; {len(lost) - len(gone)} more less than {after_s:g} s ago"
        return Answer(told, known, found.blame)
    return Answer(found.told, known, found.blame)


def _is_lost(member: Member) -> bool:
    return member.presence == "lost" and member.sent is not None and member.presence_s >= member.sent.at_s


def _of_devices(evidence: WaveEvidence, found: Sequence[Member], whole: int, limit: float, what: str) -> Answer:
    interval = intervals.share(len(found), whole, evidence.plan.confidence)
    told = f"{len(found)} of {whole} {what} ({percent(interval)}), limit {limit:.1%}"
    known = numbers(interval, limit, devices=len(found), of=whole, is_over=evidence.is_over)
    if not found:
        return Answer(told, known)
    first = found[0].device
    return Answer(told, {**known, "first": first}, first + (f" and {len(found) - 1} more" if found[1:] else ""))


def accuracy(evidence: WaveEvidence) -> Answer:
    """Right answers of those with a label: the share itself, and by how much it fell on the same devices."""
    plan, able = evidence.plan, evidence.able
    if not able or (plan.min_accuracy is None and plan.max_accuracy_drop is None):
        return UNLIMITED if able else Answer("no device of this wave can run it")
    labelled, correct = _labelled(entry.behaviour for entry in able)
    if not labelled and not plan.min_inferences:
        return Answer("no labels seen, and the plan asks for no inferences")
    if labelled < plan.min_samples:
        few: Numbers = {"samples": labelled, "needed": plan.min_samples}
        return Answer(f"{labelled} of {plan.min_samples} needed labels seen", few)
    answers = [*_right(evidence, labelled, correct), *_fall(evidence, labelled, correct)]
    return worst("accuracy", answers) if answers else Answer("nothing to compare with")


def _right(evidence: WaveEvidence, labelled: int, correct: int) -> list[Answer]:
    least = evidence.plan.min_accuracy
    if least is None:
        return []
    found = intervals.share(correct, labelled, evidence.plan.confidence)
    told = f"{correct} of {labelled} labelled inferences right ({percent(found)}), at least {least:.1%} wanted"
    few = {"samples": labelled, "needed": evidence.plan.min_samples}
    return [Answer(told, numbers(found, least, at_least=True, **few))]


def _fall(evidence: WaveEvidence, labelled: int, correct: int) -> list[Answer]:
    plan, limit = evidence.plan, evidence.plan.max_accuracy_drop
    before, correct_before = _labelled(entry.before for entry in evidence.able)
    if limit is None or before < plan.min_samples:
        return []
    found = intervals.drop((correct_before, before), (correct, labelled), plan.confidence)
    told = f"accuracy fell by {percent(found)}, limit {limit:.1%}"
    few = {"samples": labelled, "needed": plan.min_samples}
    return [Answer(told, numbers(found, limit, at_least=False, samples_before=before, **few))]


def _labelled(behaviours: Iterable[Behaviour]) -> tuple[int, int]:
    """How many had a label, and how many of those were right."""
    labelled = correct = 0
    for entry in behaviours:
        labelled, correct = labelled + entry.labelled, correct + entry.correct
    return labelled, correct


def worst(gate: str, answers: Sequence[Answer]) -> Answer:
    """The first of the gravest."""
    order = ("breach", "wait", "ok")
    return min(answers, key=lambda answer: order.index(verdict_of(gate, answer.known)))
