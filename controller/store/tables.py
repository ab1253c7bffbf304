"""The tables, as typed classes. `migrations/` makes them; a test proves that both agree.

Rules upheld here:
- A moment is `…_s`, seconds since 1970 on the controller's clock, unless the name says otherwise.
- What came over the wire is kept as the message's own JSON, so that no field is lost; columns
  repeat only what is searched or ordered by.
- What may arrive twice has a unique key that the wire protocol guarantees.
"""

from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Words(TypeDecorator[str]):
    """Text of any origin: PostgreSQL takes no NUL, which a device may send in a reason."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value is not None else None


class Base(DeclarativeBase):
    """The metadata that migrations are checked against."""

    # SQLite's INTEGER has 64 bits, and only it can number rows by itself; elsewhere it has 32.
    type_annotation_map: ClassVar = {int: BigInteger().with_variant(Integer(), "sqlite"), str: Words()}


class MetaRow(Base):
    """One value a key: `epoch`, of the controller that leads its `term` and its URL as `leader`, `action_secret`."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class ModelRow(Base):
    """`newest` is the highest number that was ever given: one that was deleted is not given again."""

    __tablename__ = "models"
    name: Mapped[str] = mapped_column(primary_key=True)
    newest: Mapped[int]
    created_s: Mapped[float]


class AliasRow(Base):
    """A name such as `stable` for a version of a model, which may be moved."""

    __tablename__ = "aliases"
    __table_args__ = (ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),)
    model: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    changed_s: Mapped[float]
    changed_by: Mapped[str]


class BlobRow(Base):
    """A blob that the artifact store holds. `hashes` is None where it is a single block."""

    __tablename__ = "blobs"
    digest: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    hashes: Mapped[str | None]
    created_s: Mapped[float]


class VersionRow(Base):
    """Immutable but for `notes` and `retired_s`. `content_digest` is that of the manifest before it was numbered."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("model", "content_digest"),)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    manifest: Mapped[bytes]
    manifest_digest: Mapped[str] = mapped_column(ForeignKey("blobs.digest"))
    content_digest: Mapped[str]
    report: Mapped[bytes]
    notes: Mapped[str]
    created_s: Mapped[float]
    created_by: Mapped[str]
    retired_s: Mapped[float | None]


class DeviceRow(Base):
    """`birth` and `reported` are the newest messages as JSON. `session` is the newest connection's.

    `presence_s` is when `presence` last changed. A removed device comes back when it speaks; a decommissioned one
    stays away until an operator takes it in again.
    """

    __tablename__ = "devices"
    id: Mapped[str] = mapped_column(primary_key=True)
    first_seen_s: Mapped[float]
    last_seen_s: Mapped[float]
    presence: Mapped[str]
    presence_s: Mapped[float]
    session: Mapped[int]
    birth: Mapped[bytes | None]
    reported: Mapped[bytes | None]
    reported_epoch: Mapped[int]
    reported_generation: Mapped[int]
    removed_s: Mapped[float | None]
    decommissioned_s: Mapped[float | None]


class GroupRow(Base):
    """A query with a name."""

    __tablename__ = "groups"
    name: Mapped[str] = mapped_column(primary_key=True)
    query: Mapped[str]
    changed_s: Mapped[float]
    changed_by: Mapped[str]


class PinRow(Base):
    """A slot of a device that no rollout and no rollback moves, and why."""

    __tablename__ = "pins"
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    slot: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    pinned_s: Mapped[float]
    pinned_by: Mapped[str]


class DesiredRow(Base):
    """What one device is to be like. `slots` is JSON of the assignments, without the URL, which is not state."""

    __tablename__ = "desired"
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    epoch: Mapped[int]
    generation: Mapped[int]
    slots: Mapped[bytes]
    changed_s: Mapped[float]
    published_epoch: Mapped[int]
    published_generation: Mapped[int]
    published_s: Mapped[float | None]


class RolloutRow(Base):
    """`wave` is the number of the newest open wave, from 1. `ending` is where `reverting` leads.

    `evidence` is JSON of the gates' results as last judged, `overrides` of the gates that an operator has overruled.
    While it is taken back, `restore_from` is the first wave that is: 1 for all of them. `key` is the client's own name
    for the request, and `request` the digest of what was asked with it. One that is queued has no waves yet; it
    `waits_for` an older rollout.
    """

    __tablename__ = "rollouts"
    __table_args__ = (
        Index("rollouts_by_model", "model", "slot", "state"),
        Index("rollouts_by_key", "key", unique=True),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    key: Mapped[str | None]
    request: Mapped[str | None]
    waits_for: Mapped[int | None]
    kind: Mapped[str]
    model: Mapped[str]
    version: Mapped[int]
    slot: Mapped[str]
    plan: Mapped[bytes]
    state: Mapped[str]
    reason: Mapped[str]
    ending: Mapped[str]
    wave: Mapped[int]
    wave_count: Mapped[int]
    wave_opened_s: Mapped[float]
    evidence: Mapped[bytes]
    overrides: Mapped[bytes] = mapped_column(default=b"[]")
    restore_from: Mapped[int] = mapped_column(default=1)
    created_s: Mapped[float]
    created_by: Mapped[str]
    ended_s: Mapped[float | None]


class VerdictRow(Base):
    """What the gates said when that changed: JSON of their answers, with the numbers that those were made from."""

    __tablename__ = "verdicts"
    __table_args__ = (Index("verdicts_by_rollout", "rollout", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    rollout: Mapped[int] = mapped_column(ForeignKey("rollouts.id"))
    at_s: Mapped[float]
    wave: Mapped[int]
    results: Mapped[bytes]


class RolloutDeviceRow(Base):
    """One device of a rollout. `wave` 0 means set apart at planning: it cannot run any variant.

    `sent` and `previous` are JSON of assignments; `previous` is what to give back, None where the
    device had nothing. `before` is JSON of how that behaved until the version was sent. `attempts` counts the sendings.
    """

    __tablename__ = "rollout_devices"
    rollout: Mapped[int] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True, index=True)
    wave: Mapped[int]
    position: Mapped[int]
    standing: Mapped[str]
    reason: Mapped[str]
    standing_s: Mapped[float]
    sent: Mapped[bytes | None]
    previous: Mapped[bytes | None]
    before: Mapped[bytes | None]
    attempts: Mapped[int] = mapped_column(default=0)
    sent_epoch: Mapped[int]
    sent_generation: Mapped[int]
    sent_s: Mapped[float | None]
    restored_epoch: Mapped[int]
    restored_generation: Mapped[int]
    restored_s: Mapped[float | None]


class EventRow(Base):
    """`id` is the order of arrival. `at_s` is the device's clock; `body` the whole message."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("device", "boot_id", "seq"), Index("events_by_kind", "device", "kind"))
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    boot_id: Mapped[str]
    seq: Mapped[int]
    received_s: Mapped[float]
    at_s: Mapped[float]
    kind: Mapped[str]
    body: Mapped[bytes]


class TelemetryRow(Base):
    """One window. `latency`, `predictions`, `confidence` and `system` are JSON of those parts of the message."""

    __tablename__ = "telemetry"
    __table_args__ = (
        UniqueConstraint("device", "boot_id", "slot", "window"),
        Index("telemetry_by_version", "device", "slot", "model", "version", "received_s"),
        Index("telemetry_by_age", "received_s"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    boot_id: Mapped[str]
    slot: Mapped[str]
    window: Mapped[int]
    received_s: Mapped[float]
    model: Mapped[str]
    version: Mapped[int]
    artifact: Mapped[str]
    phase: Mapped[str]
    inferences: Mapped[int]
    errors: Mapped[int]
    labelled: Mapped[int]
    correct: Mapped[int]
    latency: Mapped[bytes]
    predictions: Mapped[bytes]
    system: Mapped[bytes]
    confidence: Mapped[bytes | None]
    worker_cpu_share: Mapped[float | None]


class BehaviourRow(Base):
    """All that is known of how a version behaves in a slot of a device since it was sent there: JSON of the sums."""

    __tablename__ = "behaviours"
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    slot: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[bytes]
    changed_s: Mapped[float]


class LogRow(Base):
    """One line. `at_s` is the device's clock; `line` its place in the batch."""

    __tablename__ = "logs"
    __table_args__ = (UniqueConstraint("device", "boot_id", "batch", "line"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    boot_id: Mapped[str]
    batch: Mapped[int]
    line: Mapped[int]
    received_s: Mapped[float]
    at_s: Mapped[float]
    level: Mapped[str]
    event: Mapped[str]
    fields: Mapped[bytes]


class ActionRow(Base):
    """A one-shot order to a device; `body` is the message as it was sent. The answer is an event that names its id."""

    __tablename__ = "actions"
    device: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    body: Mapped[bytes]
    ordered_s: Mapped[float]
    ordered_by: Mapped[str]


class UploadRow(Base):
    """What an action brought: of the digest and size that the device said; `data` once all of it is here and right."""

    __tablename__ = "uploads"
    __table_args__ = (ForeignKeyConstraint(["device", "action"], ["actions.device", "actions.id"]),)
    device: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    size_bytes: Mapped[int]
    blocks: Mapped[int]
    data: Mapped[bytes | None]
    received_s: Mapped[float]


class UploadBlockRow(Base):
    """A block on the way to a whole."""

    __tablename__ = "upload_blocks"
    __table_args__ = (ForeignKeyConstraint(["device", "action"], ["uploads.device", "uploads.action"]),)
    device: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class ConversionRow(Base):
    """One job. `order` is JSON of what was asked, `failure` of how it failed, `report` that of a refusal.

    `step` of `steps` has begun, `done` of `total` within it. `warnings` is JSON, too.

    `key` is the client's own name for the request. `started_s` is that of the newest of the `attempts`.
    """

    __tablename__ = "conversions"
    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
        Index("conversions_by_state", "state", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    key: Mapped[str | None] = mapped_column(unique=True)
    model: Mapped[str]
    order: Mapped[bytes]
    state: Mapped[str]
    attempts: Mapped[int]
    step: Mapped[int]
    steps: Mapped[int]
    done: Mapped[int]
    total: Mapped[int]
    text: Mapped[str]
    warnings: Mapped[bytes]
    created_s: Mapped[float]
    created_by: Mapped[str]
    started_s: Mapped[float | None]
    ended_s: Mapped[float | None]
    version: Mapped[int | None]
    failure: Mapped[bytes | None]
    report: Mapped[bytes | None]


class TokenRow(Base):
    """An API token, by its digest alone: the token itself is shown once and kept nowhere."""

    __tablename__ = "tokens"
    name: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    created_s: Mapped[float]
    created_by: Mapped[str]
    expires_s: Mapped[float | None]
    revoked_s: Mapped[float | None]


class AuditRow(Base):
    """Who changed what. `detail` is JSON."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_by_subject", "subject", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at_s: Mapped[float]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[bytes]
