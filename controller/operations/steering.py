"""How an operator leads a rollout by hand: on, to a stop, past a gate, and again to those that failed.

Rules upheld here:
- Every order is one transaction, says who gave it and why, and may be said twice.
- No order leads past a gate that says breach, but the one that overrules this gate by name.
- The last wave is completed by evidence alone.
"""

import msgspec
from sqlalchemy.orm import Session

from wherry.controller.core.gates import GATES
from wherry.controller.core.members import LIVE, Override
from wherry.controller.errors import Conflict, Invalid
from wherry.controller.operations import audit
from wherry.controller.operations.carry_out import open_wave, recall, step
from wherry.controller.operations.rollout_view import RolloutView, find_rollout, overrides_of, view
from wherry.controller.store.database import Database
from wherry.controller.store.tables import RolloutRow

MIN_REASON_CHARACTERS = 10
"""Of an override: whoever reads it at the next breach must be able to judge it."""

NEVER_OVERRULED = {"settled": "devices would be left in the middle of an update that no gate watches"}

OVERRULABLE = ("queued", "running", "paused", "held")


def promote(db: Database, rollout: int, *, wave: int, reason: str = "", now_s: float, actor: str) -> RolloutView:
    """Open the next wave, `wave`, although evidence is still missing. Nothing happens where it is open already.

    Raises NotFound, or Conflict where a gate says breach, the rollout is not running, another wave is next, or there
    is none: nobody but the gates completes a rollout.
    """
    with db.write() as session:
        row = find_rollout(session, rollout)
        if wave <= row.wave:
            return view(session, row)
        _refuse_promotion(row, wave)
        step(session, row, now_s)  # what is known now, and not what the last tick knew
        if row.wave < wave:
            _refuse_promotion(row, wave)
            open_wave(session, row, wave, now_s=now_s, actor=actor, reason=reason)
            step(session, row, now_s)
        return view(session, row)


def hold(db: Database, rollout: int, *, reason: str = "", now_s: float, actor: str) -> RolloutView:
    """End it as held: who has committed the version keeps it, who has not settled is given back what it had.

    Idempotent. It can still be taken back, or carried on by `retry_failed`. Raises NotFound, or Conflict where it is
    queued, being taken back, or has ended otherwise.
    """
    with db.write() as session:
        row = find_rollout(session, rollout)
        if row.state == "held":
            return view(session, row)
        if row.state not in ("running", "paused"):
            raise Conflict(f"rollout {rollout} is {row.state}: {row.reason}", f"see `wherry rollout show {rollout}`")
        if row.kind == "rollout":  # a rollback is left to those who come late
            recall(session, row, now_s)
        row.state, row.ended_s, row.reason = "held", now_s, f"held by {actor}{f': {reason}' if reason else ''}"
        _tell(session, row, "rollout-held", now_s, actor, reason=row.reason)
        return view(session, row)


def override(db: Database, rollout: int, gate: str, *, reason: str, now_s: float, actor: str) -> RolloutView:
    """From now on the gate counts as ok in this rollout, and says that it was overruled. For an emergency.

    Idempotent; another reason replaces the first. Raises NotFound, Invalid for an unknown gate or a reason that is
    too short, Conflict once it is being taken back or has ended.
    """
    _check_gate(gate)
    if gate in NEVER_OVERRULED:
        raise Invalid(f"the gate {gate} cannot be overruled: {NEVER_OVERRULED[gate]}", "use promote, hold or abort")
    if len(reason.strip()) < MIN_REASON_CHARACTERS:
        raise Invalid(
            f"a reason of {len(reason.strip())} characters",
            f"say in {MIN_REASON_CHARACTERS} or more why {gate} may be ignored",
        )
    with db.write() as session:
        row = _find_overrulable(session, rollout)
        known = {entry.gate: entry for entry in overrides_of(row)}
        if gate not in known or known[gate].reason != reason:
            known[gate] = Override(gate=gate, reason=reason, actor=actor, at_s=now_s)
            _tell(session, row, "rollout-gate-overruled", now_s, actor, gate=gate, reason=reason)
            _keep_overrides(session, row, known, now_s)
        return view(session, row)


def withdraw_override(db: Database, rollout: int, gate: str, *, now_s: float, actor: str) -> RolloutView:
    """Let the gate judge again. Idempotent. Raises as `override` does."""
    _check_gate(gate)
    with db.write() as session:
        row = _find_overrulable(session, rollout)
        known = {entry.gate: entry for entry in overrides_of(row)}
        if known.pop(gate, None) is not None:
            _tell(session, row, "rollout-gate-restored", now_s, actor, gate=gate)
            _keep_overrides(session, row, known, now_s)
        return view(session, row)


def _refuse_promotion(row: RolloutRow, wave: int) -> None:
    name = f"rollout {row.id}"
    if row.state == "paused":
        raise Conflict(f"{name} is paused", f"resume it first: wherry rollout resume {row.id}")
    if row.state != "running":
        raise Conflict(f"{name} is {row.state}: {row.reason}", f"see `wherry rollout show {row.id}`")
    if wave > row.wave_count:
        raise Conflict(
            f"{name} has {row.wave_count} waves, and nobody but its gates completes it",
            "wait for the evidence, or overrule the gate that waits",
        )
    if wave > row.wave + 1:
        raise Conflict(f"{name} has opened wave {row.wave} so far", f"open wave {row.wave + 1} first")


def _check_gate(gate: str) -> None:
    names = [name for name, _ in GATES]
    if gate not in names:
        raise Invalid(f"no gate {gate!r}", f"there are {', '.join(names)}")


def _find_overrulable(session: Session, rollout: int) -> RolloutRow:
    row = find_rollout(session, rollout)
    if row.state not in OVERRULABLE:
        raise Conflict(f"rollout {rollout} is {row.state}: {row.reason}", "its gates judge nothing any more")
    return row


def _keep_overrides(session: Session, row: RolloutRow, known: dict[str, Override], now_s: float) -> None:
    row.overrides = msgspec.json.encode(tuple(known.values()))
    if row.state in LIVE:
        step(session, row, now_s)


def _tell(session: Session, row: RolloutRow, action: str, now_s: float, actor: str, **detail: object) -> None:
    audit.record(session, action, f"rollout {row.id}", now_s=now_s, actor=actor, **detail)
