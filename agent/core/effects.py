"""What a transition changes in a slot's record, each change one small function by name.

`phase` is the state that is left; outcomes name it. Every function leaves the state itself alone.
"""

from collections.abc import Callable

import msgspec

from wherry.agent.core.drift import Baseline
from wherry.agent.core.record import MAX_QUARANTINE, Attempt, SlotRecord, Wish
from wherry.protocol.types import VersionRef, clip_reason
from wherry.protocol.up.reported import Agreement, Outcome, Phase, QuarantineEntry, Result

Effect = Callable[[SlotRecord, Phase, str], SlotRecord]
"""(slot, the phase that is left, the reason) -> slot."""


def begin(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    """Attempt what is wished; what another attempt at it found of agreement was with another incumbent, maybe."""
    wish = _wish(slot)
    lost = None if slot.lost is not None and slot.lost.ref == wish.ref else slot.lost
    is_of_before = slot.agreement is not None and slot.agreement.artifact == wish.ref.artifact
    agreement = None if is_of_before else slot.agreement
    return msgspec.structs.replace(slot, attempt=Attempt(wish=wish), lost=lost, agreement=agreement)


def begin_again(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    """Attempt what was lost, once."""
    assert slot.lost is not None, "this event comes of a loss"
    epoch, generation = _order(slot)
    wish = Wish(assignment=slot.lost, epoch=epoch, generation=generation)
    return msgspec.structs.replace(slot, attempt=Attempt(wish=wish, restores=True), lost=None)


def renew(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    """The same assignment under a newer generation: go on, and answer the newer one."""
    attempt = msgspec.structs.replace(_attempt(slot), wish=_wish(slot), restores=False)
    return msgspec.structs.replace(slot, attempt=attempt)


def abandon(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    return msgspec.structs.replace(slot, attempt=None)


def count_try(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    attempt = _attempt(slot)
    return msgspec.structs.replace(slot, attempt=msgspec.structs.replace(attempt, tries=attempt.tries + 1))


def acknowledge(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    """What is wished already serves."""
    return _settle(slot, _wish(slot), "committed", "running", "")


def refuse(slot: SlotRecord, _phase: Phase, reason: str) -> SlotRecord:
    """What is wished is in quarantine."""
    return _settle(slot, _wish(slot), "rejected", "preflight", reason)


def reject(slot: SlotRecord, phase: Phase, reason: str) -> SlotRecord:
    return msgspec.structs.replace(_conclude(slot, "rejected", phase, reason), attempt=None)


def decline(slot: SlotRecord, _phase: Phase, reason: str) -> SlotRecord:
    """Answer what is wished and not answered yet, without trying it."""
    return slot if slot.wish is None or slot.settled else _settle(slot, slot.wish, "rejected", "preflight", reason)


def revert(slot: SlotRecord, phase: Phase, reason: str) -> SlotRecord:
    return msgspec.structs.replace(_conclude(slot, "reverted", phase, reason), attempt=None)


def quarantine(slot: SlotRecord, _phase: Phase, reason: str) -> SlotRecord:
    return _isolate(slot, _attempt(slot).ref, reason)


def quarantine_if_tried(slot: SlotRecord, phase: Phase, reason: str) -> SlotRecord:
    """What never ran has done nothing."""
    return quarantine(slot, phase, reason) if _attempt(slot).tries else slot


def commit(slot: SlotRecord, phase: Phase, _reason: str) -> SlotRecord:
    attempt = _attempt(slot)
    last_good = slot.last_good if slot.incumbent in (None, attempt.ref) or slot.incumbent_failed else slot.incumbent
    known = (attempt.wish.assignment, *(entry for entry in slot.assignments if entry.ref != attempt.ref))
    return msgspec.structs.replace(
        _conclude(slot, "committed", phase, ""),
        incumbent=attempt.ref,
        last_good=last_good,
        incumbent_failed=False,
        attempt=None,
        assignments=tuple(entry for entry in known if entry.ref in (attempt.ref, last_good)),
        lost=None,
        committed=(attempt.wish.epoch, attempt.wish.generation),
    )


def fall_back(slot: SlotRecord, phase: Phase, reason: str) -> SlotRecord:
    """The incumbent fails again and again: isolate it and serve what was good before, once."""
    failed = _incumbent(slot)
    isolated = msgspec.structs.replace(_isolate(slot, failed, reason), outcome=_failure(slot, failed, phase, reason))
    return msgspec.structs.replace(isolated, incumbent=slot.last_good, last_good=None, committed=(0, 0))


def give_up(slot: SlotRecord, phase: Phase, reason: str) -> SlotRecord:
    """Nothing is left to fall back to."""
    failed = _incumbent(slot)
    return msgspec.structs.replace(slot, incumbent_failed=True, outcome=_failure(slot, failed, phase, reason))


def distrust(slot: SlotRecord, phase: Phase, reason: str) -> SlotRecord:
    """Run nothing: whatever it is, it stops the agent. The answer to a wish for something else stays as it is."""
    if slot.incumbent is None or slot.incumbent_failed:
        return slot
    told = slot.outcome is not None and slot.outcome.ref != slot.incumbent
    outcome = slot.outcome if told else _failure(slot, slot.incumbent, phase, reason)
    return msgspec.structs.replace(slot, incumbent_failed=True, outcome=outcome)


def forget_incumbent(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    """The incumbent's file is damaged on disk: that is no fault of the version, so it is fetched again."""
    return msgspec.structs.replace(
        slot,
        incumbent=slot.last_good,
        last_good=None,
        committed=(0, 0),
        settled=slot.wish is None if slot.attempt is None else slot.settled,
        lost=next((entry for entry in slot.assignments if entry.ref == slot.incumbent), None),
    )


def trust_again(slot: SlotRecord, _phase: Phase, _reason: str) -> SlotRecord:
    return msgspec.structs.replace(slot, incumbent_failed=False)


def forget_quarantine(slot: SlotRecord, artifact: str | None) -> SlotRecord:
    """Forget one digest, or all where `artifact` is None."""
    kept = tuple(entry for entry in slot.quarantine if artifact is not None and entry.artifact != artifact)
    return msgspec.structs.replace(slot, quarantine=kept)


def with_baseline(
    slot: SlotRecord, p95_ms: float | None, incumbent: Baseline | None, *, broker_before: bool
) -> SlotRecord:
    """Keep how the incumbent was, so that the comparison outlives a power cut."""
    attempt = msgspec.structs.replace(
        _attempt(slot), incumbent_p95_ms=p95_ms, incumbent=incumbent, broker_before=broker_before
    )
    return msgspec.structs.replace(slot, attempt=attempt)


def with_agreement(slot: SlotRecord, agreement: Agreement | None) -> SlotRecord:
    """Keep what the self-test found; one that compared nothing leaves what an earlier one of the attempt did."""
    return slot if agreement is None else msgspec.structs.replace(slot, agreement=agreement)


def _conclude(slot: SlotRecord, result: Result, phase: Phase, reason: str) -> SlotRecord:
    """How the attempt ended, as the answer to its wish; one that restores leaves the answer that was given."""
    attempt = _attempt(slot)
    return slot if attempt.restores else _settle(slot, attempt.wish, result, phase, reason)


def _settle(slot: SlotRecord, wish: Wish, result: Result, phase: Phase, reason: str) -> SlotRecord:
    """A newer wish than the one that is answered keeps its turn."""
    outcome = Outcome(
        ref=wish.ref,
        epoch=wish.epoch,
        generation=wish.generation,
        result=result,
        phase=phase,
        reason=clip_reason(reason),
    )
    return msgspec.structs.replace(slot, outcome=outcome, settled=slot.wish is None or slot.wish == wish)


def _failure(slot: SlotRecord, failed: VersionRef, phase: Phase, reason: str) -> Outcome:
    """That the incumbent failed, under the newest document that asked for anything."""
    epoch, generation = _order(slot)
    return Outcome(
        ref=failed, epoch=epoch, generation=generation, result="reverted", phase=phase, reason=clip_reason(reason)
    )


def _order(slot: SlotRecord) -> tuple[int, int]:
    """Epoch and generation of the newest document that asked for anything."""
    return (slot.wish.epoch, slot.wish.generation) if slot.wish is not None else (0, 0)


def _isolate(slot: SlotRecord, ref: VersionRef, reason: str) -> SlotRecord:
    others = tuple(entry for entry in slot.quarantine if entry.artifact != ref.artifact)
    entry = QuarantineEntry(artifact=ref.artifact, reason=clip_reason(reason))
    return msgspec.structs.replace(slot, quarantine=(*others, entry)[-MAX_QUARANTINE:])


def _wish(slot: SlotRecord) -> Wish:
    assert slot.wish is not None, "this event comes of a wish"
    return slot.wish


def _attempt(slot: SlotRecord) -> Attempt:
    assert slot.attempt is not None, f"an attempt exists in {slot.state}"
    return slot.attempt


def _incumbent(slot: SlotRecord) -> VersionRef:
    assert slot.incumbent is not None, f"an incumbent exists in {slot.state}"
    return slot.incumbent
