"""Devices as an operator sees them: what they are, what they run, how it went, what they said."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.plan import Target
from wherry.controller.core.targeting import matches
from wherry.controller.errors import NotFound
from wherry.controller.operations import audit
from wherry.controller.operations.documents import assignments
from wherry.controller.operations.fleet import birth_of, candidate, find_device, present, reports_of
from wherry.controller.store.database import Database
from wherry.controller.store.tables import DesiredRow, DeviceRow, EventRow, LogRow, TelemetryRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.latency import LatencySketch, LatencyWindow
from wherry.protocol.profile import CONFIDENCE_BINS
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth, Event
from wherry.protocol.up.log import Level
from wherry.protocol.up.reported import SlotReport
from wherry.protocol.up.telemetry import SystemReading

DEFAULT_PERIOD_S = 3600.0
DEFAULT_LINES = 200
MAX_PREDICTED = 5
MAX_REVERTS = 100
"""Of one device, the newest: one that reverts all day must not make its page endless."""


class DeviceView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`in_step`: the device has accepted the newest desired document."""

    id: str
    presence: str
    first_seen_s: float
    last_seen_s: float
    birth: Birth | None
    slots: tuple[SlotReport, ...]
    desired: tuple[Assignment, ...]
    in_step: bool


class Predicted(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The index of a class, and the share of inferences that were it."""

    top: int
    share: float


class Reading(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What one version did in one slot over the period asked for; `accuracy` is correct of labelled.

    `predictions` are the commonest classes with their shares; `confidence` is the mean, None where the model has none.
    `worker_cpu_share` is of one processor, in the newest window.
    """

    slot: str
    model: str
    version: int
    inferences: int
    errors: int
    labelled: int
    correct: int
    accuracy: float | None
    p50_ms: float | None
    p95_ms: float | None
    predictions: tuple[Predicted, ...]
    confidence: float | None
    worker_cpu_share: float | None
    last_s: float


class Revert(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A version that the device refused (`rejected`) or took back (`reverted`) by itself."""

    slot: str
    model: str
    version: int
    result: str
    reason: str
    at_s: float
    received_s: float


class DeviceDetail(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`events` are the newest, newest first; `reverts` the newest, oldest first; `system` the newest.

    `readings` are by slot and version.
    """

    device: DeviceView
    readings: tuple[Reading, ...]
    reverts: tuple[Revert, ...]
    events: tuple[Event, ...]
    system: SystemReading | None


class LogView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`id` grows with arrival: ask for what came `after_id`."""

    id: int
    device: str
    received_s: float
    at_s: float
    level: str
    event: str
    fields: dict[str, str]


def list_devices(db: Database, target: Target | None = None) -> list[DeviceView]:
    """By id; removed ones left out, and those that `target` does not mean. Raises Invalid for its query."""
    with db.read() as session:
        rows = [row for row in present(session) if target is None or matches(target, candidate(row))]
        return [_view(row, session.get(DesiredRow, row.id)) for row in rows]


def get_device(
    db: Database, device: str, *, now_s: float, period_s: float = DEFAULT_PERIOD_S, max_events: int = 100
) -> DeviceDetail:
    """Readings are of the windows received in the last `period_s`. Raises NotFound."""
    with db.read() as session:
        row = find_device(session, device)
        recent = select(TelemetryRow).where(TelemetryRow.device == device, TelemetryRow.received_s >= now_s - period_s)
        windows = session.scalars(recent.order_by(TelemetryRow.id)).all()
        return DeviceDetail(
            device=_view(row, session.get(DesiredRow, device)),
            readings=_readings(windows),
            reverts=_reverts(session, device),
            events=_newest_events(session, device, max_events),
            system=_newest_system(session, device),
        )


def get_logs(
    db: Database,
    device: str | None = None,
    *,
    after_id: int | None = None,
    level: Level = "debug",
    max_lines: int = DEFAULT_LINES,
) -> list[LogView]:
    """Lines at `level` or above, oldest first; of one device, or of all. Raises NotFound.

    The newest ones; or, to follow, the first ones that came after the line `after_id`.
    """
    levels = get_args(Level)[get_args(Level).index(level) :]
    wanted = select(LogRow).where(LogRow.level.in_(levels)).limit(max_lines)
    with db.read() as session:
        if device is not None:
            wanted = wanted.where(LogRow.device == find_device(session, device).id)
        if after_id is not None:
            rows = session.scalars(wanted.where(LogRow.id > after_id).order_by(LogRow.id)).all()
        else:
            rows = session.scalars(wanted.order_by(LogRow.id.desc())).all()[::-1]
        return [_log(row) for row in rows]


def remove_device(db: Database, device: str, *, now_s: float, actor: str) -> None:
    """Forget a device until it is heard from again. Idempotent. Raises NotFound where it never was.

    Afterwards the caller clears its retained topics, or the broker will speak for it once more.
    """
    with db.write() as session:
        row = session.get(DeviceRow, device)
        if row is None:
            raise NotFound(f"no device {device!r}", "see `wherry devices` for those known")
        if row.removed_s is None:
            row.removed_s = now_s
            audit.record(session, "device-removed", device, now_s=now_s, actor=actor)


def _view(row: DeviceRow, desired: DesiredRow | None) -> DeviceView:
    wanted = (desired.epoch, desired.generation) if desired is not None else (0, 0)
    return DeviceView(
        id=row.id,
        presence=row.presence,
        first_seen_s=row.first_seen_s,
        last_seen_s=row.last_seen_s,
        birth=birth_of(row),
        slots=reports_of(row),
        desired=assignments(desired),
        in_step=(row.reported_epoch, row.reported_generation) >= wanted,
    )


def _readings(windows: Iterable[TelemetryRow]) -> tuple[Reading, ...]:
    by_version: dict[tuple[str, str, int], list[TelemetryRow]] = {}
    for window in windows:
        by_version.setdefault((window.slot, window.model, window.version), []).append(window)
    return tuple(_reading(*key, rows) for key, rows in sorted(by_version.items()))


def _reading(slot: str, model: str, version: int, windows: Sequence[TelemetryRow]) -> Reading:
    latency = LatencyWindow(msgspec.json.decode(window.latency, type=LatencySketch) for window in windows)
    labelled = sum(window.labelled for window in windows)
    correct = sum(window.correct for window in windows)
    return Reading(
        slot=slot,
        model=model,
        version=version,
        inferences=sum(window.inferences for window in windows),
        errors=sum(window.errors for window in windows),
        labelled=labelled,
        correct=correct,
        accuracy=correct / labelled if labelled else None,
        p50_ms=latency.quantile_ms(0.5),
        p95_ms=latency.quantile_ms(0.95),
        predictions=_predictions(windows),
        confidence=_confidence(windows),
        worker_cpu_share=windows[-1].worker_cpu_share,
        last_s=max(window.received_s for window in windows),
    )


def _predictions(windows: Sequence[TelemetryRow]) -> tuple[Predicted, ...]:
    counts: Counter[int] = Counter()
    for window in windows:
        counts.update(msgspec.json.decode(window.predictions, type=dict[int, int]))
    total = sum(counts.values())
    return tuple(Predicted(top=top, share=count / total) for top, count in counts.most_common(MAX_PREDICTED) if count)


def _confidence(windows: Sequence[TelemetryRow]) -> float | None:
    """By the middles of the bins."""
    counts: Counter[int] = Counter()
    for body in [window.confidence for window in windows if window.confidence is not None]:
        counts.update(dict(enumerate(msgspec.json.decode(body, type=list[int]))))
    total = sum(counts.values())
    return sum((index + 0.5) / CONFIDENCE_BINS * count for index, count in counts.items()) / total if total else None


def _reverts(session: Session, device: str) -> tuple[Revert, ...]:
    wanted = select(EventRow).where(EventRow.device == device, EventRow.kind.in_(("rejected", "reverted")))
    found = []
    for row in session.scalars(wanted.order_by(EventRow.id.desc()).limit(MAX_REVERTS)).all()[::-1]:
        event = msgspec.json.decode(row.body, type=Event)
        if event.ref is not None:
            found.append(
                Revert(
                    slot=event.slot or "",
                    model=event.ref.model,
                    version=event.ref.version,
                    result=row.kind,
                    reason=event.reason,
                    at_s=row.at_s,
                    received_s=row.received_s,
                )
            )
    return tuple(found)


def _newest_events(session: Session, device: str, max_events: int) -> tuple[Event, ...]:
    newest = select(EventRow.body).where(EventRow.device == device).order_by(EventRow.id.desc()).limit(max_events)
    return tuple(msgspec.json.decode(body, type=Event) for body in session.scalars(newest))


def _newest_system(session: Session, device: str) -> SystemReading | None:
    newest = select(TelemetryRow.system).where(TelemetryRow.device == device).order_by(TelemetryRow.id.desc()).limit(1)
    body = session.scalars(newest).one_or_none()
    return msgspec.json.decode(body, type=SystemReading) if body is not None else None


def _log(row: LogRow) -> LogView:
    return LogView(
        id=row.id,
        device=row.device,
        received_s=row.received_s,
        at_s=row.at_s,
        level=row.level,
        event=row.event,
        fields=msgspec.json.decode(row.fields, type=dict[str, str]),
    )
