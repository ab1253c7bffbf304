"""Rows to what the engine knows: a rollout and its members, read in one transaction."""

from typing import cast

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wherry.controller.core.members import End, Evidence, Kind, Member, Restored, Rollout, Sent, Standing, State
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.operations.fleet import birth_of, report_of
from wherry.controller.store.tables import DeviceRow, RolloutDeviceRow, RolloutRow, TelemetryRow, VersionRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.latency import LatencySketch, LatencyWindow
from wherry.protocol.manifest import decode_manifest

MAX_WINDOWS = 200
"""Of one device, the newest, whose latencies are merged for one comparison."""


def load(session: Session, row: RolloutRow) -> tuple[Rollout, list[Member]]:
    """Everything that `core.rollout.decide` asks for, but the time."""
    version = session.get_one(VersionRow, (row.model, row.version))
    rollout = Rollout(
        plan=msgspec.json.decode(row.plan, type=RolloutPlan),
        variants=decode_manifest(version.manifest).variants,
        state=cast("State", row.state),
        wave=row.wave,
        wave_count=row.wave_count,
        wave_opened_s=row.wave_opened_s,
        kind=cast("Kind", row.kind),
        ending=cast("End", row.ending),
        reason=row.reason,
    )
    counts = _counts(session, row)
    found = session.execute(
        select(RolloutDeviceRow, DeviceRow)
        .join(DeviceRow, DeviceRow.id == RolloutDeviceRow.device)
        .where(RolloutDeviceRow.rollout == row.id)
        .order_by(RolloutDeviceRow.wave, RolloutDeviceRow.position)
    )
    members = [_member(row, entry, device) for entry, device in found]
    return rollout, [_with_evidence(session, rollout, member, counts.get(member.device)) for member in members]


def assignment(body: bytes | None) -> Assignment | None:
    return msgspec.json.decode(body, type=Assignment) if body is not None else None


def _member(row: RolloutRow, entry: RolloutDeviceRow, device: DeviceRow) -> Member:
    return Member(
        device=entry.device,
        wave=entry.wave,
        known=device.removed_s is None,
        birth=birth_of(device),
        report=report_of(device, row.slot),
        accepted=(device.reported_epoch, device.reported_generation),
        sent=_sent(entry),
        restored=_restored(entry),
        standing=cast("Standing", entry.standing),
        reason=entry.reason,
        standing_s=entry.standing_s,
    )


def _sent(entry: RolloutDeviceRow) -> Sent | None:
    sent = assignment(entry.sent)
    if sent is None or entry.sent_s is None:
        return None
    return Sent(
        assignment=sent,
        previous=assignment(entry.previous),
        order=(entry.sent_epoch, entry.sent_generation),
        at_s=entry.sent_s,
    )


def _restored(entry: RolloutDeviceRow) -> Restored | None:
    if entry.restored_s is None:
        return None
    return Restored(order=(entry.restored_epoch, entry.restored_generation), at_s=entry.restored_s)


def _counts(session: Session, row: RolloutRow) -> dict[str, tuple[int, int]]:
    """Inferences and errors of the version by device, since it was sent there."""
    rows = session.execute(
        select(TelemetryRow.device, func.sum(TelemetryRow.inferences), func.sum(TelemetryRow.errors))
        .join(RolloutDeviceRow, RolloutDeviceRow.device == TelemetryRow.device)
        .where(
            RolloutDeviceRow.rollout == row.id,
            TelemetryRow.slot == row.slot,
            TelemetryRow.model == row.model,
            TelemetryRow.version == row.version,
            TelemetryRow.received_s >= RolloutDeviceRow.sent_s,
        )
        .group_by(TelemetryRow.device)
    )
    return {device: (int(inferences), int(errors)) for device, inferences, errors in rows}


def _with_evidence(session: Session, rollout: Rollout, member: Member, counts: tuple[int, int] | None) -> Member:
    inferences, errors = counts or (0, 0)
    evidence = Evidence(inferences=inferences, errors=errors)
    sent = member.sent
    if rollout.plan.max_p95_ratio is not None and sent is not None and member.wave == rollout.wave:
        evidence = msgspec.structs.replace(
            evidence,
            latency=_latency(session, member.device, sent.assignment, since_s=sent.at_s),
            before=_latency(session, member.device, sent.previous, until_s=sent.at_s),
        )
    return msgspec.structs.replace(member, evidence=evidence)


def _latency(
    session: Session, device: str, of: Assignment | None, *, since_s: float = 0.0, until_s: float = float("inf")
) -> LatencySketch:
    if of is None:
        return LatencySketch()
    windows = session.scalars(
        select(TelemetryRow.latency)
        .where(
            TelemetryRow.device == device,
            TelemetryRow.slot == of.slot,
            TelemetryRow.model == of.model,
            TelemetryRow.version == of.version,
            TelemetryRow.received_s >= since_s,
            TelemetryRow.received_s < until_s,
        )
        .order_by(TelemetryRow.received_s.desc())
        .limit(MAX_WINDOWS)
    )
    return LatencyWindow(msgspec.json.decode(window, type=LatencySketch) for window in windows).sketch()
