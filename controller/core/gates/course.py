"""Gates on how the wave goes: who failed, who has settled, how much was seen, how long it takes."""

from wherry.controller.core import windows
from wherry.controller.core.gates.conduct import UNLIMITED
from wherry.controller.core.gates.evidence import Answer, WaveEvidence, named
from wherry.controller.core.gates.rules import Numbers
from wherry.controller.core.members import Member, Rollout
from wherry.controller.core.standing import FAILED, PENDING, UNCOUNTED


def failures(evidence: WaveEvidence) -> Answer:
    """Devices that failed in the whole rollout, as a count and as a share of those reached; the larger limit holds.

    No interval: all that were reached are counted, and nobody else is spoken for. A device of the wave to which
    nothing was sent yet is not reached, so that a wave that is only begun allows no more than what it has begun.
    """
    plan = evidence.plan
    failed = [entry for entry in evidence.members if entry.standing in FAILED]
    reached = sum(_is_reached(entry) for entry in evidence.members)
    allowed = max(plan.max_failures, int(plan.max_failure_share * reached))
    known: Numbers = {"value": len(failed), "limit": allowed, "reached": reached}
    told = f"{len(failed)} of {reached} devices failed, {allowed} allowed"
    return Answer(told, known, named(failed) if failed else "")


def _is_reached(member: Member) -> bool:
    """The version was sent to it, or it has ended without: it may hold the artifact in quarantine."""
    if member.standing in UNCOUNTED:
        return False
    return member.sent is not None or member.standing not in PENDING


def settled(evidence: WaveEvidence) -> Answer:
    """Every device of the wave that can run it has ended its attempt, well or badly.

    So has every one of an earlier wave: what could not run it then may be able now.
    """
    able = evidence.able
    pending = [entry for entry in evidence.members if entry.standing in PENDING]
    known: Numbers = {"pending": len(pending), "able": len(able)}
    if not pending:
        return Answer(f"{len(able)} of {len(able)} devices of the wave have settled", known)
    earlier = sum(entry.wave < evidence.rollout.wave for entry in pending)
    of_them = f", {earlier} of earlier waves" if earlier else ""
    told = f"{len(pending)} of {len(able) + earlier} devices have not settled{of_them}: {named(pending)}"
    return Answer(told, known)


def devices(evidence: WaveEvidence) -> Answer:
    """Enough devices have committed. A wave in which nobody can run it leans on an earlier wave's commits."""
    able = evidence.able
    if not able:
        return _nobody(evidence)
    committed = sum(entry.standing == "committed" for entry in able)
    needed = min(evidence.plan.min_devices, len(able))
    possible = committed + sum(entry.standing in PENDING for entry in able)
    known: Numbers = {"value": committed, "needed": needed, "possible": possible}
    told = f"{committed} of {needed} needed devices committed"
    return Answer(told if possible >= needed else f"{told}, and only {possible} still can", known)


def _nobody(evidence: WaveEvidence) -> Answer:
    """No device of the open wave can run the version: one that committed it in an earlier wave must speak for it."""
    earlier = sum(entry.standing == "committed" for entry in evidence.members)
    known: Numbers = {"value": earlier, "needed": 1, "possible": earlier}
    if earlier:
        return Answer("no device of this wave can run it; earlier waves committed", known)
    return Answer("no device so far can run it, so there is no evidence", known)


def inferences(evidence: WaveEvidence) -> Answer:
    """Enough answers by the version on this wave's devices."""
    able = evidence.able
    needed = evidence.plan.min_inferences if able else 0
    seen = sum(entry.behaviour.inferences for entry in able)
    return Answer(f"{seen} of {needed} needed inferences seen", {"value": seen, "needed": needed})


def soak(evidence: WaveEvidence) -> Answer:
    """Time since the last device of the wave settled."""
    able = evidence.able
    soak_s = evidence.plan.soak_s if able else 0.0
    if any(entry.standing in PENDING for entry in able):
        return Answer(f"begins when the wave has settled, {soak_s:g} s", {"value": 0.0, "needed": soak_s})
    since_s = max((entry.standing_s for entry in able), default=evidence.now_s)
    passed_s = evidence.now_s - since_s
    return Answer(f"{min(passed_s, soak_s):.0f} s of {soak_s:g} s passed", {"value": passed_s, "needed": soak_s})


def deadline(evidence: WaveEvidence) -> Answer:
    """Time for the wave and for the whole rollout, also while it is paused."""
    plan, rollout = evidence.plan, evidence.rollout
    limits = (
        (f"wave {rollout.wave}", _sendable_s(rollout), plan.wave_deadline_s),
        ("the rollout", rollout.created_s, plan.deadline_s),
    )
    left = [(since_s + limit_s - evidence.now_s, what, limit_s) for what, since_s, limit_s in limits if limit_s]
    if not left:
        return UNLIMITED
    left_s, what, limit_s = min(left)
    known: Numbers = {"left_s": left_s, "limit": limit_s, "of": what}
    if left_s > 0:
        return Answer(f"{left_s:.0f} s of {limit_s:g} s left for {what}", known)
    return Answer(f"{what} was not through after {limit_s:g} s", known)


def _sendable_s(rollout: Rollout) -> float:
    """From when on the open wave could be sent the version: a wave that waits for its window loses no time."""
    opening = windows.next_opening(rollout.plan.windows, rollout.wave_opened_s)
    if opening is None or windows.is_open(rollout.plan.windows, rollout.wave_opened_s):
        return rollout.wave_opened_s
    return opening[0]
