"""What the engine decided, done to the rows: one small function for each kind of action."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wherry.controller.core.actions import Action, Classify, Finish, Join, Judge, Promote, Restore, Revert, Rewind, Send
from wherry.controller.core.gates import GateResult
from wherry.controller.core.rollout import decide, leave
from wherry.controller.core.standing import quarantine_reason
from wherry.controller.operations import audit, behaviours, registry, verdicts
from wherry.controller.operations.documents import assignment_of, want
from wherry.controller.operations.fleet import report_of
from wherry.controller.operations.late import newcomers
from wherry.controller.operations.members import assignment, load
from wherry.controller.store.tables import DesiredRow, DeviceRow, RolloutDeviceRow, RolloutRow, VersionRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import decode_manifest
from wherry.protocol.up.reported import SlotReport


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
    entry = session.get(RolloutDeviceRow, (row.id, action.device))
    if entry is None:
        entry = new_entry(row, action.device, action.wave, behind(session, row), now_s)
        session.add(entry)
    entry.wave, entry.standing_s = action.wave, now_s
    entry.standing, entry.reason = ("incompatible", action.reason) if action.wave == 0 else ("waiting", "")
    _tell(session, row, "rollout-joined", now_s, device=action.device, wave=action.wave, reason=action.reason)
    session.flush()


def _send(session: Session, row: RolloutRow, action: Send, now_s: float) -> None:
    entry = session.get_one(RolloutDeviceRow, (row.id, action.device))
    version = session.get_one(VersionRow, (row.model, row.version))
    wanted = registry.assignment(session, version, action.variant, row.slot)
    if entry.sent is None:  # what was there before the first of several attempts is what to give back
        previous = _incumbent(session, action.device, row.slot, wanted)
        entry.previous = msgspec.json.encode(previous) if previous is not None else None
        entry.before = behaviours.of(session, action.device, previous) if previous is not None else None
    behaviours.begin(session, action.device, wanted)
    order = want(session, action.device, row.slot, wanted, now_s=now_s)
    entry.sent, entry.attempts = msgspec.json.encode(wanted), entry.attempts + 1
    (entry.sent_epoch, entry.sent_generation), entry.sent_s = order, now_s
    entry.standing, entry.reason, entry.standing_s = "sent", "", now_s


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


def _restore(session: Session, row: RolloutRow, action: Restore, now_s: float) -> None:
    entry = session.get_one(RolloutDeviceRow, (row.id, action.device))
    if _is_still_asked(session, row, entry):
        give_back(session, row, entry, now_s)
    else:
        entry.restored_epoch, entry.restored_generation, entry.restored_s = 0, 0, now_s


def give_back(session: Session, row: RolloutRow, entry: RolloutDeviceRow, now_s: float) -> None:
    """Ask the device for what it had before the version."""
    order = want(session, entry.device, row.slot, assignment(entry.previous), now_s=now_s)
    (entry.restored_epoch, entry.restored_generation), entry.restored_s = order, now_s


def _is_still_asked(session: Session, row: RolloutRow, entry: RolloutDeviceRow) -> bool:
    """Not one that has left the fleet, where its document names the version no more: it has another, or none."""
    device = session.get_one(DeviceRow, entry.device)
    if entry.wave > 0 and device.removed_s is None and device.decommissioned_s is None:
        return True
    return assignment_of(session.get(DesiredRow, entry.device), row.slot) == assignment(entry.sent)


def _finish(session: Session, row: RolloutRow, action: Finish, now_s: float) -> None:
    row.state, row.reason, row.ended_s = action.state, action.reason, now_s
    _tell(session, row, f"rollout-{action.state}", now_s, reason=action.reason)


_HANDS: dict[type[Action], Callable[[Session, RolloutRow, Any, float], None]] = {
    Classify: _classify,
    Judge: _judge,
    Promote: _promote,
    Join: _join,
    Rewind: _rewind,
    Send: _send,
    Revert: _revert,
    Restore: _restore,
    Finish: _finish,
}


def _tell(session: Session, row: RolloutRow, action: str, now_s: float, **detail: object) -> None:
    audit.record(session, action, f"rollout {row.id}", now_s=now_s, actor=audit.ENGINE, **detail)


def new_entry(row: RolloutRow, device: str, wave: int, position: int, now_s: float) -> RolloutDeviceRow:
    return RolloutDeviceRow(
        rollout=row.id, device=device, wave=wave, position=position, standing="waiting", reason="", attempts=0,
        standing_s=now_s, sent_epoch=0, sent_generation=0, restored_epoch=0, restored_generation=0,
    )  # fmt: skip


def behind(session: Session, row: RolloutRow) -> int:
    """The position after the last device of the rollout."""
    last = select(func.max(RolloutDeviceRow.position)).where(RolloutDeviceRow.rollout == row.id)
    return (session.scalar(last) or 0) + 1


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
