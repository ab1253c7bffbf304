"""Where each device of a rollout stands. Every device stands in exactly one place.

    waiting       not sent yet: its wave is not open, or it has not said what it can run
    sent          the desired document names the version; the device has not accepted it yet
    in-progress   the device has accepted it, and is fetching, testing or watching it
    retrying      it failed in a way that the plan tries again, and will be sent once more
    committed     the device serves it, and its own probation is over
    rejected      the device refused it before the switch, or holds its artifact in quarantine
    reverted      the device took it back by itself
    silent        nothing decided before the deadline, for whatever reason
    incompatible  no variant runs on it; never sent, never a success
    removed       the operator has removed the device
    released      the operator has taken the device out of the rollout

Standings are derived from what the device last reported, so a late returner that commits after all is
counted as committed. They are frozen once the version has been taken back by the rollout. A device that
fetches a committed version once more, since its file was damaged on disk, still counts as committed: its
disk speaks against nothing but itself.
"""

from typing import get_args

from wherry.controller.core.compatibility import Misfit, choose
from wherry.controller.core.members import Member, Order, Rollout, Sent, Standing
from wherry.controller.core.plan import FailureClass
from wherry.protocol.down.desired import Assignment
from wherry.protocol.types import Struct
from wherry.protocol.up.reported import SlotReport

FAILED: frozenset[Standing] = frozenset({"rejected", "reverted", "silent"})
PENDING: frozenset[Standing] = frozenset({"waiting", "sent", "in-progress", "retrying"})
ON_THE_WAY: frozenset[Standing] = frozenset({"sent", "in-progress", "retrying"})
"""Sent the version, and not at the end of the attempt."""

UNSETTLED: frozenset[Standing] = ON_THE_WAY | {"silent"}
"""Sent the version, and not known to have ended with it: a silent one may still begin when it returns."""

UNCOUNTED: frozenset[Standing] = frozenset({"incompatible", "removed", "released"})
"""Neither success nor failure: the version never had its chance there."""

AT_REST = ("empty", "running", "safe-mode")
"""Phases of a slot in which nothing is being tried."""

GONE = "the device was removed from the fleet"


class Place(Struct, frozen=True, kw_only=True):
    standing: Standing
    reason: str = ""


def stand(rollout: Rollout, member: Member, now_s: float, *, shut: str = "") -> Place:
    """Where the member stands at `now_s`. `shut` says until when no version is sent, where that is so."""
    if member.wave == 0 or member.restored is not None:
        return Place(standing=member.standing, reason=member.reason)
    if not member.known:
        return Place(standing="removed", reason=GONE)
    if member.sent is None:
        return _before_sending(rollout, member, now_s, shut)
    if member.sent.attempts == 0 and quarantine_reason(member.report, member.sent.assignment.artifact) is None:
        return Place(standing="retrying", reason="is sent it again, as an operator asked")
    place = progress(member.sent.assignment, member.sent.order, member.report, member.accepted)
    if place.standing in PENDING and now_s >= member.sent.at_s + rollout.plan.device_deadline_s:
        place = Place(standing="silent", reason=_silence(place, rollout.plan.device_deadline_s))
    if place.standing in FAILED and _is_tried_again(rollout, member, member.sent, place.standing):
        return Place(standing="retrying", reason=f"after {place.reason or place.standing}")
    return place


def failure_class(standing: Standing, report: SlotReport | None) -> FailureClass | None:
    """In which way a device has failed; None for one that has not, or in a way that has no name."""
    if standing == "silent":
        return "silent"
    phase = report.outcome.phase if standing in FAILED and report is not None and report.outcome is not None else None
    return next((name for name in get_args(FailureClass) if name == phase), None)


def _is_tried_again(rollout: Rollout, member: Member, sent: Sent, standing: Standing) -> bool:
    """An artifact in quarantine is never sent again: the device would refuse it."""
    kind = failure_class(standing, member.report)
    if kind is None or quarantine_reason(member.report, sent.assignment.artifact) is not None:
        return False
    return sent.attempts <= rollout.plan.retries.get(kind, 0)


def progress(assignment: Assignment, order: Order, report: SlotReport | None, accepted: Order) -> Place:
    """How far a device is with an assignment that was sent to it in the document of `order`."""
    if report is None or accepted < order:
        return Place(standing="sent")
    outcome = report.outcome
    if outcome is not None and outcome.ref == assignment.ref and (outcome.epoch, outcome.generation) >= order:
        if outcome.result == "committed" and report.phase == "safe-mode":
            return Place(standing="reverted", reason="safe mode: it failed after it was committed")
        reason = f"{outcome.phase}: {outcome.reason}" if outcome.reason else ""
        return Place(standing=outcome.result, reason=reason)
    if report.phase == "running" and report.serving == assignment.ref:
        return Place(standing="committed")
    return Place(standing="in-progress", reason=report.phase)


def is_trying(assignment: Assignment, report: SlotReport | None) -> bool:
    """The device attempts the version now: for the first time, or again since its file was damaged on disk."""
    return report is not None and report.candidate == assignment.ref and report.phase not in AT_REST


def quarantine_reason(report: SlotReport | None, artifact: str) -> str | None:
    """Why the device refuses the artifact; None where it does not."""
    entries = report.quarantine if report is not None else ()
    return next((entry.reason for entry in entries if entry.artifact == artifact), None)


def _before_sending(rollout: Rollout, member: Member, now_s: float, shut: str) -> Place:
    if member.wave > rollout.wave + 1:
        return Place(standing="waiting", reason=f"wave {member.wave} is not open")
    if member.birth is None:
        since_s = max(rollout.wave_opened_s, member.standing_s)  # one that came late has as long as any other
        overdue = member.standing == "silent" or now_s >= since_s + rollout.plan.device_deadline_s
        if member.wave <= rollout.wave and overdue:
            return Place(
                standing="silent", reason=f"did not say what it can run in {rollout.plan.device_deadline_s:g} s"
            )
        return Place(standing="waiting", reason="has not said what it can run")
    fit = choose(rollout.variants, member.birth, rollout.plan.slot)
    if isinstance(fit, Misfit):
        return Place(standing="incompatible", reason=fit.reason)
    artifact = next(entry.artifact.digest for entry in rollout.variants if entry.name == fit.variant)
    found_bad = quarantine_reason(member.report, artifact)
    if found_bad is not None:
        return Place(standing="rejected", reason=f"in quarantine on the device, not sent again: {found_bad}")
    return Place(standing="waiting", reason=shut if member.wave <= rollout.wave else f"wave {member.wave} is not open")


def _silence(place: Place, deadline_s: float) -> str:
    seen = "not accepted by the device" if place.standing == "sent" else f"last seen in {place.reason}"
    return f"not settled {deadline_s:g} s after it was sent; {seen}"
