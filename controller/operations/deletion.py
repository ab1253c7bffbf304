"""Versions deleted for good, and the blobs that nothing else names let go of.

Rules upheld here:
- What is used is not deleted, and the refusal names what uses it. A number is never given again.
- A blob's row goes with the version; its file goes after that is committed, while nobody can write a row for it. So a
  row always has its file, and what a killed controller leaves is a file without a row, which `sweep` finds.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from wherry.controller.core.conversion_order import ConversionOrder
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit
from wherry.controller.operations.registry import find_version, name_of, page_of
from wherry.controller.operations.uses import uses
from wherry.controller.store.database import Database
from wherry.controller.store.tables import BlobRow, ConversionRow, VersionRow
from wherry.protocol.manifest import decode_manifest
from wherry.protocol.types import Struct

UNFINISHED = ("queued", "running")


class Deleted(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`blobs` are the digests that nothing names any more."""

    version: str
    blobs: tuple[str, ...]


def delete_version(db: Database, text: str, *, now_s: float, actor: str) -> Deleted:
    """Forget the version, with its report. The caller then lets go of the blobs' files (`let_go`).

    Raises NotFound, or Conflict with everything that uses the version.
    """
    with db.write() as session:
        row = find_version(session, text)
        used = uses(session, row)
        if used:
            raise Conflict(
                f"{name_of(row)} is in use: {'; '.join(used)}", "see `wherry models history` and `wherry devices`"
            )
        name, named = name_of(row), set(_blobs(row))
        made = (ConversionRow.model == row.model) & (ConversionRow.version == row.number)
        session.execute(update(ConversionRow).where(made).values(version=None))
        session.delete(row)
        session.flush()
        unnamed = sorted(named - _still_named(session))
        for digest in unnamed:
            session.delete(session.get_one(BlobRow, digest))
        audit.record(session, "version-deleted", name, now_s=now_s, actor=actor, blobs=len(unnamed))
        return Deleted(version=name, blobs=tuple(unnamed))


def let_go(db: Database, digests: Iterable[str], drop: Callable[[str], object]) -> list[str]:
    """`drop` the files of those that still have no row; they are returned. Raises what `drop` raises.

    It is done under the writer's lock: whoever adds a row afterwards is told that the file is gone. While a conversion
    is at work, which lays its files down first, nothing is dropped; `sweep` does it at the next start.
    """
    with db.write() as session:
        at_work = select(ConversionRow.id).where(ConversionRow.state == "running").limit(1)
        return [] if session.scalars(at_work).first() is not None else _drop(session, digests, drop)


def sweep(db: Database, digests: Iterable[str], drop: Callable[[str], object]) -> list[str]:
    """The same at a start, before anything is at work: `digests` are all files that are not brand-new."""
    with db.write() as session:
        return _drop(session, digests, drop)


def _drop(session: Session, digests: Iterable[str], drop: Callable[[str], object]) -> list[str]:
    listed = set(digests)
    unnamed = sorted(listed - set(session.scalars(select(BlobRow.digest))))
    for digest in unnamed:
        drop(digest)
    return unnamed


def _blobs(row: VersionRow) -> Iterator[str]:
    yield row.manifest_digest
    page = page_of(row.report)
    if page is not None:
        yield page
    for variant in decode_manifest(row.manifest).variants:
        yield variant.artifact.digest
        yield variant.golden.digest


def _still_named(session: Session) -> set[str]:
    found = {digest for row in session.scalars(select(VersionRow)) for digest in _blobs(row)}
    waiting = session.scalars(select(ConversionRow.order).where(ConversionRow.state.in_(UNFINISHED)))
    for body in waiting:
        order = msgspec.json.decode(body, type=ConversionOrder)
        found.update(entry.digest for entry in order.inputs.values() if entry.digest is not None)
    return found
