"""The rollout engine: rows and the time in, actions out. It has no other state.

Rules upheld here:
- A wave is opened only when every gate of the wave before is ok. Silence is never ok.
- A breach acts at once, also while paused: `hold` ends the rollout; `revert` takes the version back from
  every device that it was ever sent to, whatever that device says. A deadline that passes for want of evidence alone
  is always `hold`: nothing speaks against the version.
- A rollout that is held or aborted leaves nobody behind who would begin, or finish, without a gate that
  watches: who has not settled is given back what it had. Only a rollback that is held is left to those
  who come late, since what they had is what everybody was to leave.
- A device is sent the version once, and again only where it failed in a way that the plan retries. One that has its
  artifact in quarantine is not sent it.
- Nothing is sent outside a maintenance window, or faster than the plan allows. Whatever is taken back is taken back
  at once.
- A clock that is put back costs nothing but what had passed of a wait: moments that have not come yet are taken for
  now.
- Late joiners come in with the last wave, and pass its gates.
- Every rollout ends completed, reverted, held or aborted, and says why. Completed needs a commit.
- Deciding twice on the same rows gives the same actions; once they are carried out, none is decided again.
"""

from collections.abc import Iterable, Sequence

import msgspec

from wherry.controller.core import windows
from wherry.controller.core.actions import Action, Classify, Finish, Join, Judge, Promote, Restore, Revert, Rewind, Send
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.compatibility import Fit, Misfit, choose
from wherry.controller.core.gates import GateResult, WaveEvidence, judge
from wherry.controller.core.members import LIVE, End, Member, Rollout
from wherry.controller.core.standing import AT_REST, FAILED, ON_THE_WAY, UNSETTLED, stand
from wherry.protocol.up.reported import SlotReport

RATE_PERIOD_S = 60.0
CLOCKS_DIFFER_S = 5.0


def decide(
    rollout: Rollout, members: Sequence[Member], now_s: float, newcomers: Iterable[Candidate] = ()
) -> list[Action]:
    """What to do now. `members` are all devices of the rollout, `newcomers` those that might come in as well."""
    if rollout.state not in LIVE:
        return []
    if is_ahead(rollout, members, now_s):
        return [Rewind()]
    current, actions = _look(rollout, members, now_s)
    if rollout.state == "reverting":
        return actions + _take_back(rollout, current, now_s)
    joining = _join(rollout, current, newcomers)
    return [*actions, *joining, *_carry_on(rollout, current, now_s, joining=bool(joining))]


def is_ahead(rollout: Rollout, members: Sequence[Member], now_s: float) -> bool:
    """Whether rows tell of moments that have not come yet; not by what clocks of two controllers differ."""
    limit_s = now_s + CLOCKS_DIFFER_S
    if max(rollout.created_s, rollout.wave_opened_s) > limit_s:
        return True
    return any(
        entry.standing_s > limit_s
        or entry.presence_s > limit_s
        or (entry.sent is not None and entry.sent.at_s > limit_s)
        or (entry.restored is not None and entry.restored.at_s > limit_s)
        for entry in members
    )


def leave(rollout: Rollout, members: Sequence[Member], now_s: float) -> list[Action]:
    """What is to be done when a live rollout ends without taking the version back from who has it."""
    current, actions = _look(rollout, members, now_s)
    return actions + _recall(current)


def _look(rollout: Rollout, members: Sequence[Member], now_s: float) -> tuple[list[Member], list[Action]]:
    """The members as they stand now, and what of that is new."""
    shut = _shut(rollout, now_s)
    current = [_restand(rollout, member, now_s, shut) for member in members]
    news: list[Action] = [
        Classify(device=now.device, standing=now.standing, reason=now.reason)
        for old, now in zip(members, current, strict=True)
        if old is not now
    ]
    return current, news


def _shut(rollout: Rollout, now_s: float) -> str:
    """Until when nothing is sent; empty where versions may be sent now."""
    if windows.is_open(rollout.plan.windows, now_s):
        return ""
    opening = windows.next_opening(rollout.plan.windows, now_s)
    return f"waits for the window that opens {opening[1]}" if opening is not None else "no window opens any more"


def _restand(rollout: Rollout, member: Member, now_s: float, shut: str) -> Member:
    place = stand(rollout, member, now_s, shut=shut)
    if (place.standing, place.reason) == (member.standing, member.reason):
        return member
    since_s = member.standing_s if place.standing == member.standing else now_s
    return msgspec.structs.replace(member, standing=place.standing, reason=place.reason, standing_s=since_s)


def judged(rollout: Rollout, members: Sequence[Member], now_s: float) -> tuple[GateResult, ...]:
    """What the gates say of the open wave. `members` stand as they do at `now_s`."""
    opened = tuple(entry for entry in members if 0 < entry.wave <= rollout.wave)
    results = judge(WaveEvidence(rollout=rollout, members=opened, now_s=now_s))
    if opened or rollout.wave == rollout.wave_count or not any(entry.wave > rollout.wave for entry in members):
        return results
    return tuple(_wait_for_operator(rollout, result) for result in results)


def _wait_for_operator(rollout: Rollout, result: GateResult) -> GateResult:
    """Where everybody was taken out of the open waves: no evidence for the others, and none against the version."""
    if result.gate != "devices" or result.verdict != "breach":
        return result
    told = f"nobody is left in wave {rollout.wave}: open the next one by hand, or abort"
    numbers = {**result.evidence, "possible": result.evidence["needed"]}  # the next wave may speak
    return GateResult(gate=result.gate, verdict="wait", reason=told, evidence=numbers)


def _join(rollout: Rollout, members: Sequence[Member], newcomers: Iterable[Candidate]) -> list[Action]:
    known = {entry.device for entry in members}
    joining: list[Action] = []
    for newcomer in newcomers if rollout.plan.late_joiners == "join" else ():
        fit = choose(rollout.variants, newcomer.birth, rollout.plan.slot) if newcomer.birth is not None else None
        if not isinstance(fit, Misfit):
            joining.append(Join(device=newcomer.device, wave=rollout.wave_count))
        elif newcomer.device not in known:
            joining.append(Join(device=newcomer.device, wave=0, reason=fit.reason))
    return joining


def _carry_on(rollout: Rollout, members: Sequence[Member], now_s: float, *, joining: bool) -> list[Action]:
    results = judged(rollout, members, now_s)
    actions: list[Action] = [Judge(results=results)]
    breaches = [result for result in results if result.verdict == "breach"]
    if breaches:
        return actions + _stop(rollout, members, breaches)
    if rollout.state == "paused":
        return actions
    if joining or any(result.verdict == "wait" for result in results):
        return actions + _send(rollout, members, rollout.wave, now_s)
    if rollout.wave < rollout.wave_count:
        return [*actions, Promote(wave=rollout.wave + 1), *_send(rollout, members, rollout.wave + 1, now_s)]
    done: End = "completed" if any(entry.standing == "committed" for entry in members) else "held"
    return [*actions, Finish(state=done, reason=_summary(members))]


def _send(rollout: Rollout, members: Sequence[Member], wave: int, now_s: float) -> list[Action]:
    actions: list[Action] = []
    if not windows.is_open(rollout.plan.windows, now_s):
        return actions
    budget = _budget(rollout, members, now_s)
    for member in members:
        if len(actions) >= budget:
            break
        if not 0 < member.wave <= wave or member.birth is None or not _is_due(rollout, member, now_s):
            continue
        fit = choose(rollout.variants, member.birth, rollout.plan.slot)
        if isinstance(fit, Fit):
            actions.append(Send(device=member.device, variant=fit.variant))
    return actions


def _budget(rollout: Rollout, members: Sequence[Member], now_s: float) -> float:
    """To how many more devices the version may be sent now."""
    limit = rollout.plan.max_sends_per_minute
    if limit is None:
        return float("inf")
    recent = (entry.sent for entry in members if entry.sent and 0 <= now_s - entry.sent.at_s < RATE_PERIOD_S)
    return limit - sum(max(sent.attempts, 1) for sent in recent)  # rows tell when the last attempt was, not each


def _is_due(rollout: Rollout, member: Member, now_s: float) -> bool:
    if member.standing == "retrying":
        asked = member.sent is not None and member.sent.attempts == 0
        return asked or not 0 <= now_s - member.standing_s < rollout.plan.retry_after_s
    return member.standing == "waiting"


def _stop(rollout: Rollout, members: Sequence[Member], breaches: Sequence[GateResult]) -> list[Action]:
    reason = "; ".join(f"{breach.gate}: {breach.reason}" for breach in breaches)
    told = f"wave {rollout.wave} of {rollout.wave_count}: {reason}"
    if rollout.plan.on_breach == "hold" or _wants_evidence(members, breaches):
        recalled = _recall(members) if rollout.kind == "rollout" else []
        return [*recalled, Finish(state="held", reason=told)]
    if rollout.plan.on_breach == "revert-wave" and rollout.wave > 1:
        told += f"; taken back from wave {rollout.wave} on, earlier waves keep it"
        first = rollout.wave
    else:
        first = 1
    return [Revert(ending="reverted", reason=told, restore_from=first), *_restore(_concerned(members, first))]


def _wants_evidence(members: Sequence[Member], breaches: Sequence[GateResult]) -> bool:
    """Nothing but time is against the version: no device is still trying it, and whatever waits waits for evidence.

    One that is still trying it when the time is over is silent, and silence is failure.
    """
    return all(breach.gate == "deadline" for breach in breaches) and not any(
        entry.standing in ON_THE_WAY for entry in members
    )


def _concerned(members: Sequence[Member], restore_from: int) -> list[Member]:
    """From whom the version is taken back: who has not settled would go on without a gate that watches.

    One that was removed would find the version in its document when it returns.
    """
    gone = {*UNSETTLED, "removed"}
    return [entry for entry in members if entry.wave >= restore_from or entry.standing in gone]


def _restore(members: Sequence[Member]) -> list[Action]:
    return [Restore(device=entry.device) for entry in members if entry.sent is not None and entry.restored is None]


def _recall(members: Sequence[Member]) -> list[Action]:
    """The version is given up where it has not settled; where it was committed it stays."""
    return _restore([entry for entry in members if entry.standing in UNSETTLED])


def _take_back(rollout: Rollout, members: Sequence[Member], now_s: float) -> list[Action]:
    restores = _restore(_concerned(members, rollout.restore_from))
    if restores:
        return restores
    taken = [entry for entry in members if entry.restored is not None and entry.wave > 0]
    missing = [entry for entry in taken if not is_back(entry)]
    overdue = [entry for entry in missing if _overdue(entry, now_s - rollout.plan.device_deadline_s)]
    if len(overdue) < len(missing):
        return []
    if not taken:
        return [Finish(state=rollout.ending, reason=f"{rollout.reason}; it was sent to nobody")]
    confirmed = sum(entry.known and is_back(entry) for entry in taken)
    told = f"; {confirmed} of {len(taken)} devices confirmed that it is taken back"
    absent = f", not heard from: {', '.join(entry.device for entry in missing[:5])}" if missing else ""
    return [Finish(state=rollout.ending, reason=rollout.reason + told + absent)]


def _overdue(member: Member, limit_s: float) -> bool:
    return member.restored is not None and member.restored.at_s <= limit_s


def is_back(member: Member) -> bool:
    """Whether the device has accepted that the version was taken back, and tries nothing any more.

    Nobody waits for one that was removed.
    """
    if member.restored is None or not member.known:
        return True
    if member.report is None or member.accepted < member.restored.order:
        return False
    return member.report.phase in AT_REST and not _still_serving(member, member.report)


def _still_serving(member: Member, report: SlotReport) -> bool:
    """The device serves the version although it has something to go back to."""
    sent = member.sent
    if sent is None or sent.previous is None or sent.previous.ref == sent.assignment.ref:
        return False
    return report.serving == sent.assignment.ref


def _summary(members: Sequence[Member]) -> str:
    committed = sum(entry.standing == "committed" for entry in members)
    failed = sum(entry.standing in FAILED for entry in members)
    apart = sum(entry.standing == "incompatible" for entry in members)
    return f"{committed} committed, {failed} failed, {apart} cannot run it"
