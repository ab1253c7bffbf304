"""Models and their immutable, numbered versions."""

from collections.abc import Callable

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.version_name import parse_version
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.operations import audit
from wherry.controller.store.database import Database
from wherry.controller.store.tables import BlobRow, ModelRow, VersionRow
from wherry.protocol.blob import BlobRef, describe, sha256
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import Manifest, decode_manifest, encode_manifest
from wherry.protocol.types import Digest, Struct


class ModelView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    name: str
    created_s: float
    versions: tuple[int, ...]


class VersionView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`manifest` is the numbered one, whose bytes `manifest_ref` addresses. `report` is the converter's JSON.

    `report_page` is the digest of the report's HTML page, None where there is none.
    """

    model: str
    number: int
    manifest: Manifest
    manifest_ref: BlobRef
    report: msgspec.Raw
    report_page: str | None
    notes: str
    created_s: float
    created_by: str
    created: bool = False

    def __str__(self) -> str:
        return f"{self.model}:{self.number}"


def add_blob(db: Database, ref: BlobRef, *, now_s: float) -> None:
    """Record that the artifact store holds the blob. Idempotent. Do this before `create_version`."""
    with db.write() as session:
        put_blob(session, ref, now_s)


def create_version(
    db: Database,
    manifest: Manifest,
    *,
    report: bytes,
    keep: Callable[[bytes], object],
    now_s: float,
    actor: str,
    notes: str = "",
) -> VersionView:
    """Give the manifest (with version 0) the next number of its model, and make the model where it is new.

    `keep` is given the numbered manifest's bytes and must have stored them durably, under their
    digest, when it returns; it is called before the commit, so that a version whose manifest is
    missing cannot exist. Idempotent: the same content comes back as the version that it already is,
    with `created` False. Raises Invalid where a blob that it names was not added, or the report is
    not JSON.
    """
    with db.write() as session:
        return register(session, manifest, report=report, keep=keep, now_s=now_s, actor=actor, notes=notes)


def register(
    session: Session,
    manifest: Manifest,
    *,
    report: bytes,
    keep: Callable[[bytes], object],
    now_s: float,
    actor: str,
    notes: str,
) -> VersionView:
    """What `create_version` does, as a part of the transaction of something larger."""
    bare = msgspec.structs.replace(manifest, version=0)
    content_digest = sha256(encode_manifest(bare))
    _check_report(report)
    same = select(VersionRow).where(VersionRow.model == bare.model, VersionRow.content_digest == content_digest)
    existing = session.scalars(same).one_or_none()
    if existing is not None:
        return _view(session, existing)
    _check_blobs(session, bare)
    _check_page(session, report)
    row = _number(session, bare, keep, now_s)
    row.content_digest, row.report, row.notes, row.created_by = content_digest, report, notes, actor
    session.add(row)
    session.flush()
    audit.record(session, "version-created", f"{row.model}:{row.number}", now_s=now_s, actor=actor, notes=notes)
    return msgspec.structs.replace(_view(session, row), created=True)


def list_models(db: Database) -> list[ModelView]:
    """By name; versions ascending."""
    with db.read() as session:
        numbers: dict[str, list[int]] = {}
        for version in session.scalars(select(VersionRow).order_by(VersionRow.number)):
            numbers.setdefault(version.model, []).append(version.number)
        rows = session.scalars(select(ModelRow).order_by(ModelRow.name))
        return [
            ModelView(name=row.name, created_s=row.created_s, versions=tuple(numbers.get(row.name, ()))) for row in rows
        ]


def get_version(db: Database, text: str) -> VersionView:
    """`digits:3`, or `digits` for the newest. Raises Invalid or NotFound."""
    with db.read() as session:
        return _view(session, find_version(session, text))


def find_version(session: Session, text: str) -> VersionRow:
    """The row that `digits:3` or `digits` names. Raises Invalid or NotFound."""
    model, wanted = parse_version(text)
    numbers = list(session.scalars(select(VersionRow.number).where(VersionRow.model == model)))
    if not numbers:
        raise NotFound(f"no model {model!r}", _known_models(session))
    number = wanted if wanted is not None else max(numbers)
    row = session.get(VersionRow, (model, number))
    if row is None:
        raise NotFound(f"no version {model}:{number}", f"the newest is {model}:{max(numbers)}")
    return row


def assignment(session: Session, version: VersionRow, variant: str, slot: str) -> Assignment:
    """The order to run one variant of the version in a slot. The variant must exist."""
    entry = decode_manifest(version.manifest).variant(variant)
    assert entry is not None
    return Assignment(
        slot=slot,
        model=version.model,
        version=version.number,
        variant=variant,
        manifest=_ref(session.get_one(BlobRow, version.manifest_digest)),
        artifact=entry.artifact.digest,
    )


def _number(session: Session, bare: Manifest, keep: Callable[[bytes], object], now_s: float) -> VersionRow:
    model = session.get(ModelRow, bare.model)
    if model is None:
        model = ModelRow(name=bare.model, newest=0, created_s=now_s)
        session.add(model)
    model.newest += 1
    session.flush()
    data = encode_manifest(msgspec.structs.replace(bare, version=model.newest))
    ref = describe(data)
    keep(data)
    put_blob(session, ref, now_s)
    return VersionRow(model=bare.model, number=model.newest, manifest=data, manifest_digest=ref.digest, created_s=now_s)


def _check_blobs(session: Session, manifest: Manifest) -> None:
    for variant in manifest.variants:
        for what, ref in (("artifact", variant.artifact), ("golden vectors", variant.golden)):
            row = session.get(BlobRow, ref.digest)
            if row is None:
                raise Invalid(
                    f"the {what} of variant {variant.name} were not uploaded ({ref.digest})", "upload them first"
                )
            if _ref(row) != ref:
                raise Invalid(f"the {what} of variant {variant.name} differ in size or hashes from those uploaded")


def page_of(report: bytes) -> str | None:
    """The digest that the report names as its page. Whoever throws blobs away must spare it."""
    try:
        return msgspec.json.decode(report, type=_Paged).page
    except msgspec.DecodeError:
        return None


class _Paged(Struct, frozen=True, kw_only=True):
    page: Digest | None = None


def _check_page(session: Session, report: bytes) -> None:
    digest = page_of(report)
    if digest is not None and session.get(BlobRow, digest) is None:
        raise Invalid(f"the page of the report was not uploaded ({digest})", "upload it first")


def _check_report(report: bytes) -> None:
    try:
        msgspec.json.decode(report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the report is not JSON: {error}") from error


def put_blob(session: Session, ref: BlobRef, now_s: float) -> None:
    """What `add_blob` does, as a part of the transaction of something larger."""
    if session.get(BlobRow, ref.digest) is None:
        session.add(BlobRow(digest=ref.digest, size_bytes=ref.size_bytes, hashes=ref.hashes, created_s=now_s))
        session.flush()


def _ref(row: BlobRow) -> BlobRef:
    return BlobRef(digest=row.digest, size_bytes=row.size_bytes, hashes=row.hashes)


def _known_models(session: Session) -> str:
    names = list(session.scalars(select(ModelRow.name).order_by(ModelRow.name).limit(10)))
    return f"known are {', '.join(names)}" if names else "none exist yet: make one with `wherry convert`"


def _view(session: Session, row: VersionRow) -> VersionView:
    return VersionView(
        model=row.model,
        number=row.number,
        manifest=decode_manifest(row.manifest),
        manifest_ref=_ref(session.get_one(BlobRow, row.manifest_digest)),
        report=msgspec.Raw(row.report),
        report_page=page_of(row.report),
        notes=row.notes,
        created_s=row.created_s,
        created_by=row.created_by,
    )
