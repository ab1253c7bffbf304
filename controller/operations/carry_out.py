"""What the engine decided, done to the rows: one small function for each kind of action."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.actions import Action, Classify, Finish, Judge, Promote, Restore, Revert, Send
from wherry.controller.core.rollout import decide, leave
from wherry.controller.core.standing import quarantine_reason
from wherry.controller.operations import audit, registry
from wherry.controller.operations.documents import assignment_of, want
from wherry.controller.operations.fleet import report_of
from wherry.controller.operations.members import assignment, load
from wherry.controller.store.tables import DesiredRow, DeviceRow, RolloutDeviceRow, RolloutRow, VersionRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import decode_manifest
from wherry.protocol.up.reported import SlotReport


def step(session: Session, row: RolloutRow, now_s: float) -> tuple[str, ...]:
    """Carry one rollout on by what is known now; the devices that have a new desired document."""
    rollout, members = load(session, row)
    return _carry_out(session, row, decide(rollout, members, now_s), now_s)


def recall(session: Session, row: RolloutRow, now_s: float) -> None:
    """Before a live rollout is ended from outside: give back what was there to who has not settled."""
    rollout, members = load(session, row)
    _carry_out(session, row, leave(rollout, members, now_s), now_s)


def _carry_out(session: Session, row: RolloutRow, actions: Iterable[Action], now_s: float) -> tuple[str, ...]:
    devices = []
    for action in actions:
        _HANDS[type(action)](session, row, action, now_s)
        if isinstance(action, Send | Restore):
            devices.append(action.device)
    session.flush()
    return tuple(devices)


def _classify(session: Session, row: RolloutRow, action: Classify, now_s: float) -> None:
    entry = session.get_one(RolloutDeviceRow, (row.id, action.device))
    if entry.standing != action.standing:
        entry.standing, entry.standing_s = action.standing, now_s
    entry.reason = action.reason


def _judge(_session: Session, row: RolloutRow, action: Judge, _now_s: float) -> None:
    row.evidence = msgspec.json.encode(action.results)


def _promote(session: Session, row: RolloutRow, action: Promote, now_s: float) -> None:
    row.wave, row.wave_opened_s = action.wave, now_s
    gates = msgspec.json.decode(row.evidence)
    _tell(session, row, "rollout-promoted", now_s, wave=action.wave, evidence=gates)


def _send(session: Session, row: RolloutRow, action: Send, now_s: float) -> None:
    entry = session.get_one(RolloutDeviceRow, (row.id, action.device))
    version = session.get_one(VersionRow, (row.model, row.version))
    wanted = registry.assignment(session, version, action.variant, row.slot)
    previous = _incumbent(session, action.device, row.slot, wanted)
    order = want(session, action.device, row.slot, wanted, now_s=now_s)
    entry.sent = msgspec.json.encode(wanted)
    entry.previous = msgspec.json.encode(previous) if previous is not None else None
    (entry.sent_epoch, entry.sent_generation), entry.sent_s = order, now_s
    entry.standing, entry.reason, entry.standing_s = "sent", "", now_s


def _revert(session: Session, row: RolloutRow, action: Revert, now_s: float) -> None:
    row.state, row.ending, row.reason = "reverting", action.ending, action.reason
    _tell(session, row, "rollout-reverting", now_s, reason=action.reason)


def _restore(session: Session, row: RolloutRow, action: Restore, now_s: float) -> None:
    entry = session.get_one(RolloutDeviceRow, (row.id, action.device))
    order = want(session, action.device, row.slot, assignment(entry.previous), now_s=now_s)
    (entry.restored_epoch, entry.restored_generation), entry.restored_s = order, now_s


def _finish(session: Session, row: RolloutRow, action: Finish, now_s: float) -> None:
    row.state, row.reason, row.ended_s = action.state, action.reason, now_s
    _tell(session, row, f"rollout-{action.state}", now_s, reason=action.reason)


_HANDS: dict[type[Action], Callable[[Session, RolloutRow, Any, float], None]] = {
    Classify: _classify,
    Judge: _judge,
    Promote: _promote,
    Send: _send,
    Revert: _revert,
    Restore: _restore,
    Finish: _finish,
}


def _tell(session: Session, row: RolloutRow, action: str, now_s: float, **detail: object) -> None:
    audit.record(session, action, f"rollout {row.id}", now_s=now_s, actor=audit.ENGINE, **detail)


def _incumbent(session: Session, device: str, slot: str, wanted: Assignment) -> Assignment | None:
    """What to give back to the device later: what it says it runs, else what it was last asked to run.

    None where that is nothing, or the very version that is being sent and not known to run, or an
    artifact that the device holds in quarantine.
    """
    report = report_of(session.get_one(DeviceRow, device), slot)
    running = _running(session, report, slot)
    if running is not None:
        return running
    asked = assignment_of(session.get(DesiredRow, device), slot)
    if asked is None or asked.ref == wanted.ref or quarantine_reason(report, asked.artifact) is not None:
        return None
    return asked


def _running(session: Session, report: SlotReport | None, slot: str) -> Assignment | None:
    if report is None or report.phase != "running" or report.serving is None:
        return None
    serving = report.serving
    same = select(VersionRow).where(VersionRow.manifest_digest == serving.manifest)
    version = session.scalars(same).one_or_none()
    if version is None or decode_manifest(version.manifest).variant(serving.variant) is None:
        return None
    return registry.assignment(session, version, serving.variant, slot)
