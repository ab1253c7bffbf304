"""Models and their immutable, numbered versions."""

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wherry.controller.core.version_name import parse_version
from wherry.controller.errors import Invalid, NotFound, Unavailable
from wherry.controller.operations import audit
from wherry.controller.store.database import Database
from wherry.controller.store.tables import AliasRow, BlobRow, ModelRow, VersionRow
from wherry.protocol.blob import BlobRef, describe, sha256
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import Manifest, decode_manifest, encode_manifest
from wherry.protocol.types import Digest, Struct


class ModelView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`aliases` are names of versions, `retired` those that can no longer be rolled out."""

    name: str
    created_s: float
    versions: tuple[int, ...]
    retired: tuple[int, ...] = ()
    aliases: dict[str, int] = {}


class VersionView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`manifest` is the numbered one, whose bytes `manifest_ref` addresses. `report` is the converter's JSON.

    `report_page` is the digest of the report's HTML page, None where there is none. One that is retired still runs
    where it runs, and cannot be rolled out.
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
    retired_s: float | None = None
    aliases: tuple[str, ...] = ()
    created: bool = False

    def __str__(self) -> str:
        return f"{self.model}:{self.number}"


def add_blob(db: Database, ref: BlobRef, *, now_s: float, has: Callable[[str], bool] = lambda _digest: True) -> None:
    """Record that the artifact store `has` the blob. Idempotent. Do this before `create_version`.

    Raises Unavailable where the blob was let go since it was uploaded (`operations.deletion`).
    """
    with db.write() as session:
        if not has(ref.digest):
            raise Unavailable(f"the artifact {ref.digest} was let go of meanwhile", "upload it once more")
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
        return view(session, existing)
    _check_blobs(session, bare)
    _check_page(session, report)
    row = _number(session, bare, keep, now_s)
    row.content_digest, row.report, row.notes, row.created_by = content_digest, report, notes, actor
    session.add(row)
    session.flush()
    audit.record(session, "version-created", f"{row.model}:{row.number}", now_s=now_s, actor=actor, notes=notes)
    return msgspec.structs.replace(view(session, row), created=True)


def list_models(db: Database, *, after: str = "", limit: int | None = None) -> list[ModelView]:
    """By name; versions ascending. Those `after` a name, `limit` of them."""
    with db.read() as session:
        wanted = select(ModelRow).where(ModelRow.name > after).order_by(ModelRow.name).limit(limit)
        return [model_view(session, row) for row in session.scalars(wanted).all()]


def get_model(db: Database, name: str) -> ModelView:
    """Raises NotFound."""
    with db.read() as session:
        return model_view(session, find_model(session, name))


def list_versions(
    db: Database, model: str, *, before: int | None = None, limit: int | None = None
) -> list[VersionView]:
    """Newest first; those `before` a number, `limit` of them. Raises NotFound."""
    with db.read() as session:
        find_model(session, model)
        wanted = select(VersionRow).where(VersionRow.model == model).order_by(VersionRow.number.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(VersionRow.number < before)
        return [view(session, row) for row in session.scalars(wanted).all()]


def edit_notes(db: Database, text: str, notes: str, *, now_s: float, actor: str) -> VersionView:
    """Change the remark that is kept with a version. Idempotent. Raises Invalid or NotFound."""
    with db.write() as session:
        row = find_version(session, text)
        if row.notes != notes:
            audit.record(
                session, "notes-changed", name_of(row), now_s=now_s, actor=actor, before=row.notes, notes=notes
            )
            row.notes = notes
        return view(session, row)


def get_version(db: Database, text: str) -> VersionView:
    """`digits:3`, `digits@stable`, or `digits` for the newest. Raises Invalid or NotFound."""
    with db.read() as session:
        return view(session, find_version(session, text))


def find_version(session: Session, text: str) -> VersionRow:
    """The row that `digits:3`, `digits@stable` or `digits` names. Raises Invalid or NotFound."""
    model, wanted = parse_version(text)
    find_model(session, model)
    if isinstance(wanted, str):
        return session.get_one(VersionRow, (model, find_alias(session, model, wanted).version))
    newest = session.scalar(select(func.max(VersionRow.number)).where(VersionRow.model == model))
    if newest is None:
        raise NotFound(f"{model!r} has no versions any more", "add one with `wherry models add`")
    row = session.get(VersionRow, (model, wanted if wanted is not None else newest))
    if row is None:
        raise NotFound(f"no version {model}:{wanted}", f"the newest is {model}:{newest}")
    return row


def find_model(session: Session, name: str) -> ModelRow:
    """Raises NotFound."""
    row = session.get(ModelRow, name)
    if row is None:
        raise NotFound(f"no model {name!r}", _known_models(session))
    return row


def find_alias(session: Session, model: str, alias: str) -> AliasRow:
    """Raises NotFound."""
    row = session.get(AliasRow, (model, alias))
    if row is None:
        known = ", ".join(f"{model}@{entry.alias}" for entry in aliases_of(session, model))
        raise NotFound(f"no alias {model}@{alias}", f"known are {known}" if known else f"{model!r} has no aliases")
    return row


def aliases_of(session: Session, model: str) -> Sequence[AliasRow]:
    return session.scalars(select(AliasRow).where(AliasRow.model == model).order_by(AliasRow.alias)).all()


def name_of(row: VersionRow) -> str:
    return f"{row.model}:{row.number}"


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


def model_view(session: Session, row: ModelRow) -> ModelView:
    wanted = select(VersionRow.number, VersionRow.retired_s).where(VersionRow.model == row.name)
    versions = session.execute(wanted.order_by(VersionRow.number)).all()
    return ModelView(
        name=row.name,
        created_s=row.created_s,
        versions=tuple(entry.number for entry in versions),
        retired=tuple(entry.number for entry in versions if entry.retired_s is not None),
        aliases={entry.alias: entry.version for entry in aliases_of(session, row.name)},
    )


def view(session: Session, row: VersionRow) -> VersionView:
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
        retired_s=row.retired_s,
        aliases=tuple(entry.alias for entry in aliases_of(session, row.model) if entry.version == row.number),
    )
