"""What the engine decided, done to the rows: one small function for each kind of action.

What comes by the thousand, one for each device, is done for all of them at once.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wherry.controller.core.actions import Action, Classify, Finish, Join, Judge, Promote, Restore, Revert, Rewind, Send
from wherry.controller.core.gates import GateResult
from wherry.controller.core.members import Standing
from wherry.controller.core.rollout import decide, leave
from wherry.controller.operations import audit, verdicts
from wherry.controller.operations.entries import add, change, entries_of, new_entry
from wherry.controller.operations.late import newcomers
from wherry.controller.operations.members import load
from wherry.controller.operations.sending import restore, send
from wherry.controller.store.tables import DeviceRow, RolloutDeviceRow, RolloutRow

_Hand = Callable[[Session, RolloutRow, Sequence[Any], float], None]
"""Takes actions of one kind that follow each other, and the time."""


def step(session: Session, row: RolloutRow, now_s: float) -> tuple[str, ...]:
    """Carry one rollout on by what is known now; the devices that have a new desired document."""
    actions = _decided(session, row, now_s)
    devices = _carry_out(session, row, actions, now_s)
    if Rewind() in actions:  # with the moments right, what is to be done can be decided
        devices += _carry_out(session, row, _decided(session, row, now_s), now_s)
    return devices


def _decided(session: Session, row: RolloutRow, now_s: float) -> list[Action]:
    rollout, members = load(session, row)
    late = newcomers(session, row, rollout.plan) if rollout.plan.late_joiners == "join" else ()
    return decide(rollout, members, now_s, late)


def recall(session: Session, row: RolloutRow, now_s: float) -> None:
    """Before a live rollout is ended from outside: give back what was there to who has not settled."""
    rollout, members = load(session, row)
    _carry_out(session, row, leave(rollout, members, now_s), now_s)


def _carry_out(session: Session, row: RolloutRow, actions: Sequence[Action], now_s: float) -> tuple[str, ...]:
    for kind, run in groupby(actions, type):
        _HANDS[kind](session, row, list(run), now_s)
    session.flush()
    return tuple(action.device for action in actions if isinstance(action, Send | Restore))


def _classify(session: Session, row: RolloutRow, actions: Sequence[Classify], now_s: float) -> None:
    entries = entries_of(session, row, (action.device for action in actions))
    changes = []
    for action in actions:
        entry = entries[action.device]
        since_s = entry.standing_s if entry.standing == action.standing else now_s
        told = {"standing": action.standing, "reason": action.reason, "standing_s": since_s}
        changes.append({"device": action.device, **told})
    change(session, row, changes)


def _send(session: Session, row: RolloutRow, actions: Sequence[Send], now_s: float) -> None:
    send(session, row, {action.device: action.variant for action in actions}, now_s)


def _restore(session: Session, row: RolloutRow, actions: Sequence[Restore], now_s: float) -> None:
    restore(session, row, [action.device for action in actions], now_s)


def _judge(session: Session, row: RolloutRow, action: Judge, now_s: float) -> None:
    before = msgspec.json.decode(row.evidence, type=tuple[GateResult, ...])
    if verdicts.differ(before, action.results):
        verdicts.keep(session, row, action.results, now_s)
    row.evidence = msgspec.json.encode(action.results)


def _promote(session: Session, row: RolloutRow, action: Promote, now_s: float) -> None:
    open_wave(session, row, action.wave, now_s=now_s, actor=audit.ENGINE)


def open_wave(session: Session, row: RolloutRow, wave: int, *, now_s: float, actor: str, **detail: object) -> None:
    """Open it, and keep what the gates said at that moment."""
    gates = msgspec.json.decode(row.evidence, type=tuple[GateResult, ...])
    verdicts.keep(session, row, gates, now_s)
    row.wave, row.wave_opened_s = wave, now_s
    told = {"wave": wave, **detail, "evidence": gates}
    audit.record(session, "rollout-promoted", f"rollout {row.id}", now_s=now_s, actor=actor, **told)


def _join(session: Session, row: RolloutRow, action: Join, now_s: float) -> None:
    standing: Standing = "waiting" if action.wave > 0 else "incompatible"
    if action.device in entries_of(session, row, [action.device]):
        told = {"wave": action.wave, "standing": standing, "reason": action.reason, "standing_s": now_s}
        change(session, row, [{"device": action.device, **told}])
    else:
        place = behind(session, row)
        add(session, [new_entry(row, action.device, action.wave, place, now_s, standing, action.reason)])
    _tell(session, row, "rollout-joined", now_s, device=action.device, wave=action.wave, reason=action.reason)


def _rewind(session: Session, row: RolloutRow, _action: Rewind, now_s: float) -> None:
    row.created_s, row.wave_opened_s = min(row.created_s, now_s), min(row.wave_opened_s, now_s)
    found = select(RolloutDeviceRow, DeviceRow).join(DeviceRow, DeviceRow.id == RolloutDeviceRow.device)
    for entry, device in session.execute(found.where(RolloutDeviceRow.rollout == row.id)):
        entry.standing_s = min(entry.standing_s, now_s)
        entry.sent_s = min(entry.sent_s, now_s) if entry.sent_s is not None else None
        entry.restored_s = min(entry.restored_s, now_s) if entry.restored_s is not None else None
        device.presence_s = min(device.presence_s, now_s)
    _tell(session, row, "clock-put-back", now_s)


def _revert(session: Session, row: RolloutRow, action: Revert, now_s: float) -> None:
    row.state, row.ending, row.reason, row.restore_from = "reverting", action.ending, action.reason, action.restore_from
    _tell(session, row, "rollout-reverting", now_s, reason=action.reason)


def _finish(session: Session, row: RolloutRow, action: Finish, now_s: float) -> None:
    row.state, row.reason, row.ended_s = action.state, action.reason, now_s
    _tell(session, row, f"rollout-{action.state}", now_s, reason=action.reason)


def _one_by_one(hand: Callable[[Session, RolloutRow, Any, float], None]) -> _Hand:
    def hands(session: Session, row: RolloutRow, actions: Sequence[Any], now_s: float) -> None:
        for action in actions:
            hand(session, row, action, now_s)

    return hands


_HANDS: dict[type[Action], _Hand] = {
    Classify: _classify,
    Judge: _one_by_one(_judge),
    Promote: _one_by_one(_promote),
    Join: _one_by_one(_join),
    Rewind: _one_by_one(_rewind),
    Send: _send,
    Revert: _one_by_one(_revert),
    Restore: _restore,
    Finish: _one_by_one(_finish),
}


def _tell(session: Session, row: RolloutRow, action: str, now_s: float, **detail: object) -> None:
    audit.record(session, action, f"rollout {row.id}", now_s=now_s, actor=audit.ENGINE, **detail)


def behind(session: Session, row: RolloutRow) -> int:
    """The position after the last device of the rollout."""
    last = select(func.max(RolloutDeviceRow.position)).where(RolloutDeviceRow.rollout == row.id)
    return (session.scalar(last) or 0) + 1
