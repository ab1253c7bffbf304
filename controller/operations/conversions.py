"""Conversions as jobs: asked for, taken by a worker, ended, each in one transaction.

Rules upheld here:
- `queued → running → succeeded | failed | cancelled`; what has ended never changes.
- The version is registered in the transaction that ends the job: neither is there without the other.
- What a worker says of a job that was cancelled or begun anew meanwhile is ignored: it names its attempt.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.conversion_order import ConversionOrder
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import audit, registry
from wherry.controller.store.database import Database
from wherry.controller.store.tables import BlobRow, ConversionRow
from wherry.protocol.blob import BlobRef
from wherry.protocol.conversion import Failed, Progress, Warned
from wherry.protocol.manifest import Manifest
from wherry.protocol.types import Struct

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
LIVE: frozenset[str] = frozenset({"queued", "running"})
CONVERTER = "converter"
"""The actor of what jobs do by themselves."""

MAX_ATTEMPTS = 3
MAX_TEXT_CHARS = 500
MAX_WARNINGS = 100


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Why; `ours` says that it is a bug, and not the client's to mend."""

    kind: str
    message: str
    fix: str
    ours: bool


class Remark(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A warning, and what to do about it."""

    message: str
    fix: str


class ConversionView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`version` is the number that was registered. `report` is that of a refusal, and not in lists.

    `step` of `steps` has begun, `done` of `total` tells how far within it.
    """

    id: int
    model: str
    state: str
    live: bool
    attempts: int
    step: int
    steps: int
    done: int
    total: int
    text: str
    warnings: tuple[Remark, ...]
    order: ConversionOrder
    key: str | None
    created_s: float
    created_by: str
    started_s: float | None
    ended_s: float | None
    version: int | None
    failure: Failure | None
    report: msgspec.Raw | None = None


class Job(Struct, frozen=True, kw_only=True):
    """What a worker takes: the job and which attempt it is."""

    id: int
    attempt: int
    order: ConversionOrder


class Result(Struct, frozen=True, kw_only=True):
    """What a conversion has made; the blobs lie in the artifact store."""

    manifest: Manifest
    report: bytes
    blobs: tuple[BlobRef, ...]


def create(
    db: Database, order: ConversionOrder, *, key: str | None = None, now_s: float, actor: str
) -> tuple[ConversionView, bool]:
    """Queue a job; the second value says whether it is new. The same `key` again is the same job.

    Raises Invalid where a blob was not uploaded, Conflict where the key was used for something else.
    """
    body = msgspec.json.encode(order)
    with db.write() as session:
        if key is not None:
            known = session.scalars(select(ConversionRow).where(ConversionRow.key == key)).one_or_none()
            if known is not None:
                return _same(known, body), False
        _check_blobs(session, order)
        row = ConversionRow(
            key=key, model=order.model, order=body, state="queued", attempts=0, step=0, steps=0, done=0, total=0,
            text="", warnings=b"[]", created_s=now_s, created_by=actor,
        )  # fmt: skip
        session.add(row)
        session.flush()
        audit.record(session, "conversion-created", _name(row), now_s=now_s, actor=actor, model=row.model)
        return _view(row), True


def cancel(db: Database, conversion: int, *, now_s: float, actor: str) -> ConversionView:
    """End it for good; whoever works on it stops. Idempotent. Raises NotFound, or Conflict once it has ended."""
    with db.write() as session:
        row = _find(session, conversion)
        if row.state in LIVE:
            _end(session, row, "cancelled", now_s, actor)
        elif row.state != "cancelled":
            raise Conflict(f"conversion {conversion} has {row.state}", "there is nothing left to cancel")
        return _view(row)


def get(db: Database, conversion: int) -> ConversionView:
    """Raises NotFound."""
    with db.read() as session:
        row = _find(session, conversion)
        report = msgspec.Raw(row.report) if row.report is not None else None
        return msgspec.structs.replace(_view(row), report=report)


def list_conversions(db: Database, *, max_conversions: int = 100, before_id: int | None = None) -> list[ConversionView]:
    """Newest first; with `before_id` those that are older than it."""
    wanted = select(ConversionRow).order_by(ConversionRow.id.desc()).limit(max_conversions)
    if before_id is not None:
        wanted = wanted.where(ConversionRow.id < before_id)
    with db.read() as session:
        return [_view(row) for row in session.scalars(wanted)]


def take(db: Database, *, now_s: float) -> Job | None:
    """The oldest queued job, which is running from now on."""
    oldest = select(ConversionRow).where(ConversionRow.state == "queued").order_by(ConversionRow.id).limit(1)
    with db.write() as session:
        row = session.scalars(oldest).one_or_none()
        if row is None:
            return None
        row.state, row.started_s, row.attempts = "running", now_s, row.attempts + 1
        row.step, row.steps, row.done, row.total, row.text, row.warnings = 0, 0, 0, 0, "", b"[]"
        return Job(id=row.id, attempt=row.attempts, order=_order(row))


def note_progress(db: Database, job: Job, progress: Progress) -> None:
    with db.write() as session:
        row = _working(session, job)
        if row is not None:
            row.step, row.steps, row.done, row.total = progress.step, progress.steps, progress.done, progress.total
            row.text = progress.text[:MAX_TEXT_CHARS]


def note_warning(db: Database, job: Job, warned: Warned) -> None:
    with db.write() as session:
        row = _working(session, job)
        if row is not None:
            remarks = (*_remarks(row), Remark(message=warned.message, fix=warned.fix))
            row.warnings = msgspec.json.encode(remarks[:MAX_WARNINGS])


def succeed(db: Database, job: Job, result: Result, *, keep: Callable[[bytes], object], now_s: float) -> None:
    """Register the version and end the job. Raises what `registry.create_version` raises."""
    with db.write() as session:
        row = _working(session, job)
        if row is None:
            return
        for ref in result.blobs:
            registry.put_blob(session, ref, now_s)
        version = registry.register(
            session, result.manifest, report=result.report, keep=keep, now_s=now_s,
            actor=row.created_by, notes=job.order.notes,
        )  # fmt: skip
        row.version = version.number
        _end(session, row, "succeeded", now_s, CONVERTER, version=str(version))


def fail(db: Database, job: Job, failed: Failed, *, report: bytes | None = None, now_s: float) -> None:
    with db.write() as session:
        row = _working(session, job)
        if row is not None:
            _fail(session, row, failed, now_s, report)


def put_back(db: Database, job: Job) -> None:
    """The controller ends in good order: the next one begins the job anew, and this attempt does not count."""
    with db.write() as session:
        row = _working(session, job)
        if row is not None:
            row.state, row.attempts = "queued", row.attempts - 1


def recover(db: Database, *, now_s: float) -> None:
    """What a controller that was killed left running is queued again, or given up. Run at the start."""
    with db.write() as session:
        for row in session.scalars(select(ConversionRow).where(ConversionRow.state == "running")).all():
            if row.attempts < MAX_ATTEMPTS:
                row.state = "queued"
                continue
            message = f"the controller was ended while it ran, {row.attempts} times"
            fix = "see whether memory ran out, then start the conversion again"
            _fail(session, row, Failed(kind="ControllerEnded", message=message, fix=fix), now_s, None)


def _same(row: ConversionRow, body: bytes) -> ConversionView:
    if row.order != body:
        raise Conflict(f"the key {row.key!r} is that of another request, {_name(row)}", "use a key of its own")
    return _view(row)


def _check_blobs(session: Session, order: ConversionOrder) -> None:
    for part, given in order.inputs.items():
        if given.digest is not None and session.get(BlobRow, given.digest) is None:
            raise Invalid(f"the {part} was not uploaded ({given.digest})", "PUT it to /api/v1/artifacts/{digest} first")


def _find(session: Session, conversion: int) -> ConversionRow:
    row = session.get(ConversionRow, conversion)
    if row is None:
        raise NotFound(f"no conversion {conversion}", "see `wherry conversions list`")
    return row


def _working(session: Session, job: Job) -> ConversionRow | None:
    """The row, if it is still this attempt that runs."""
    row = _find(session, job.id)
    return row if row.state == "running" and row.attempts == job.attempt else None


def _fail(session: Session, row: ConversionRow, failed: Failed, now_s: float, report: bytes | None) -> None:
    failure = Failure(kind=failed.kind, message=failed.message, fix=failed.fix, ours=failed.ours)
    row.failure, row.report = msgspec.json.encode(failure), report
    _end(session, row, "failed", now_s, CONVERTER, kind=failed.kind, message=failed.message)


def _end(session: Session, row: ConversionRow, state: State, now_s: float, actor: str, **detail: object) -> None:
    row.state, row.ended_s = state, now_s
    audit.record(session, f"conversion-{state}", _name(row), now_s=now_s, actor=actor, **detail)


def _name(row: ConversionRow) -> str:
    return f"conversion {row.id}"


def _order(row: ConversionRow) -> ConversionOrder:
    return msgspec.json.decode(row.order, type=ConversionOrder)


def _remarks(row: ConversionRow) -> tuple[Remark, ...]:
    return msgspec.json.decode(row.warnings, type=tuple[Remark, ...])


def _view(row: ConversionRow) -> ConversionView:
    return ConversionView(
        id=row.id, model=row.model, state=row.state, live=row.state in LIVE, attempts=row.attempts,
        step=row.step, steps=row.steps, done=row.done, total=row.total, text=row.text,
        warnings=_remarks(row), order=_order(row), key=row.key,
        created_s=row.created_s, created_by=row.created_by, started_s=row.started_s, ended_s=row.ended_s,
        version=row.version, failure=None if row.failure is None else msgspec.json.decode(row.failure, type=Failure),
    )  # fmt: skip
