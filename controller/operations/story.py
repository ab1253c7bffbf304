"""A device's whole story: one time line of all that was done to it and that it did, and how each version behaved.

Rules upheld here:
- Moments are the controller's: an event has that of its arrival, and beside it the device's own where that differs,
  since it may have been on the device's disk for days.
- Of events the newest `MAX_EVENTS` are told, and `cut` says so: a device that crashes all day must not be endless.
"""

from collections.abc import Iterator

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from wherry.controller.core.behaviour import Behaviour
from wherry.controller.operations.audit import AuditView
from wherry.controller.operations.audit import view as audit_view
from wherry.controller.operations.devices import DeviceView, device_view
from wherry.controller.operations.fleet import find_known
from wherry.controller.operations.members import assignment, behaviour
from wherry.controller.operations.pins import PinView, view_of
from wherry.controller.operations.readings import mean_confidence
from wherry.controller.store.database import Database
from wherry.controller.store.tables import (
    AuditRow,
    BehaviourRow,
    DeviceRow,
    EventRow,
    PinRow,
    RolloutDeviceRow,
    RolloutRow,
)  # fmt: skip
from wherry.protocol.latency import LatencyWindow
from wherry.protocol.types import Struct
from wherry.protocol.up import Event

MAX_EVENTS = 1000
CLOCKS_DIFFER_S = 60.0
"""An event's own moment is told from here on: before, it was sent at once."""

ENDS = ("silent", "incompatible", "removed", "released")
"""Standings that no event of the device tells of, so that the story does."""


class Happening(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`kind` is that of the event, or `sent`, `restored`, `silent` …, `online` …, or the action of the audit row.

    `version` is `digits:3`. `device_s` is the device's clock, where it was not the controller's.
    """

    at_s: float
    kind: str
    text: str
    slot: str | None = None
    version: str | None = None
    rollout: int | None = None
    wave: int | None = None
    actor: str | None = None
    reason: str = ""
    device_s: float | None = None


class VersionReading(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """All that a version did in a slot since it was last sent there; None where it is not known."""

    slot: str
    version: str
    inferences: int
    errors: int
    crashes: int
    p50_ms: float | None
    p95_ms: float | None
    labelled: int
    accuracy: float | None
    confidence: float | None
    memory_bytes: int | None
    last_s: float


class Story(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`happenings` are oldest first; `cut` where there were more events than are told."""

    device: DeviceView
    removed_s: float | None
    pins: tuple[PinView, ...]
    happenings: tuple[Happening, ...]
    readings: tuple[VersionReading, ...]
    cut: bool


def story(db: Database, device: str, *, max_events: int = MAX_EVENTS) -> Story:
    """Raises NotFound for a device that never was; one that was removed has its story still."""
    with db.read() as session:
        row = find_known(session, device)
        events = list(_events(session, device, max_events + 1))
        told = [*_presence(row), *_rollouts(session, device), *_orders(session, device), *events[:max_events][::-1]]
        pins = session.scalars(select(PinRow).where(PinRow.device == device).order_by(PinRow.slot))
        return Story(
            device=device_view(session, device),
            removed_s=row.removed_s,
            pins=tuple(view_of(pin) for pin in pins),
            happenings=tuple(sorted(told, key=lambda entry: entry.at_s)),
            readings=tuple(_readings(session, device)),
            cut=len(events) > max_events,
        )


def _presence(row: DeviceRow) -> Iterator[Happening]:
    """Only the first and the newest are on record."""
    yield Happening(at_s=row.first_seen_s, kind="first-seen", text="heard from for the first time")
    if row.presence_s > row.first_seen_s or row.presence != "offline":
        yield Happening(at_s=row.presence_s, kind=row.presence, text=f"{row.presence} since then")


def _rollouts(session: Session, device: str) -> Iterator[Happening]:
    rows = session.execute(
        select(RolloutDeviceRow, RolloutRow)
        .join(RolloutRow, RolloutRow.id == RolloutDeviceRow.rollout)
        .where(RolloutDeviceRow.device == device)
    )
    for entry, rollout in rows:
        yield from _rollout(entry, rollout)


def _rollout(entry: RolloutDeviceRow, rollout: RolloutRow) -> Iterator[Happening]:
    by, version = f"{rollout.kind} {rollout.id}", f"{rollout.model}:{rollout.version}"

    def happened(at_s: float, kind: str, text: str, reason: str = "", actor: str | None = None) -> Happening:
        return Happening(
            at_s=at_s, kind=kind, text=text, slot=rollout.slot, version=version, rollout=rollout.id,
            wave=entry.wave or None, actor=actor, reason=reason,
        )  # fmt: skip

    if entry.sent_s is not None:
        place = f", wave {entry.wave} of {rollout.wave_count}" if rollout.kind == "rollout" else ""
        tries = f", attempt {entry.attempts}" if entry.attempts > 1 else ""
        text = f"{version} was sent by {by}{place}{tries}"
        yield happened(entry.sent_s, "sent", text, actor=rollout.created_by)
    if entry.standing in ENDS:
        yield happened(entry.standing_s, entry.standing, f"{by} counts it as {entry.standing}", entry.reason)
    if entry.restored_s is not None:
        before = assignment(entry.previous)
        to = f", to {before.model}:{before.version}" if before is not None else ""
        yield happened(entry.restored_s, "restored", f"{version} was taken back by {by}{to}", rollout.reason)


def _orders(session: Session, device: str) -> Iterator[Happening]:
    """What people did to it."""
    for row in session.scalars(select(AuditRow).where(AuditRow.subject == device).order_by(AuditRow.id)):
        found = audit_view(row)
        yield Happening(
            at_s=found.at_s,
            kind=found.action,
            text=_ordered(found),
            actor=found.actor,
            slot=str(found.detail["slot"]) if "slot" in found.detail else None,
            reason=str(found.detail.get("reason", "")),
        )


def _ordered(found: AuditView) -> str:
    order = found.detail.get("order")
    if isinstance(order, dict):
        return f"asked to {order.get('kind')} ({order.get('id')})"
    what = found.action.removeprefix("device-").replace("-", " ")
    return f"{what} in slot {found.detail['slot']}" if "slot" in found.detail else what


def _events(session: Session, device: str, max_events: int) -> Iterator[Happening]:
    """Newest first."""
    wanted = select(EventRow.received_s, EventRow.at_s, EventRow.body).where(EventRow.device == device)
    for row in session.execute(wanted.order_by(EventRow.id.desc()).limit(max_events)):
        yield _event(row)


def _event(row: Row[float, float, bytes]) -> Happening:
    event = msgspec.json.decode(row.body, type=Event)
    version = str(event.ref) if event.ref is not None else None
    return Happening(
        at_s=row.received_s,
        kind=event.kind,
        text=_happened(event, version),
        slot=event.slot,
        version=version,
        reason=event.reason,
        device_s=event.at_s if abs(event.at_s - row.received_s) > CLOCKS_DIFFER_S else None,
    )


def _happened(event: Event, version: str | None) -> str:
    if event.kind == "transition":
        return f"{version or 'slot'}: {event.from_phase} → {event.to_phase}"
    if event.kind in ("action-done", "action-refused"):
        return f"{event.kind.replace('-', ' ')} ({event.action_id})"
    if event.kind in ("block-damaged", "block-repaired"):
        return f"{event.kind.replace('-', ' ')}: block {event.block} of {(event.digest or '')[:12]}"
    return f"{event.kind.replace('-', ' ')}{f' {version}' if version is not None else ''}"


def _readings(session: Session, device: str) -> Iterator[VersionReading]:
    wanted = select(BehaviourRow).where(BehaviourRow.device == device)
    for row in session.scalars(wanted.order_by(BehaviourRow.slot, BehaviourRow.changed_s)):
        seen = behaviour(row.body)
        if seen.inferences or seen.crashes:
            yield _reading(row, seen)


def _reading(row: BehaviourRow, seen: Behaviour) -> VersionReading:
    latency = LatencyWindow([seen.latency])
    return VersionReading(
        slot=row.slot,
        version=f"{row.model}:{row.version}",
        inferences=seen.inferences,
        errors=seen.errors,
        crashes=seen.crashes,
        p50_ms=latency.quantile_ms(0.5),
        p95_ms=latency.quantile_ms(0.95),
        labelled=seen.labelled,
        accuracy=seen.correct / seen.labelled if seen.labelled else None,
        confidence=mean_confidence(seen.confidence),
        memory_bytes=seen.memory_bytes or None,
        last_s=row.changed_s,
    )
