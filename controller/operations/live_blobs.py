"""Which blobs must be on the broker now."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from wherry.controller.core.members import LIVE
from wherry.controller.core.standing import is_trying, progress
from wherry.controller.operations.documents import assignments
from wherry.controller.operations.fleet import IN_SERVICE, report_of
from wherry.controller.operations.kept import Kept
from wherry.controller.store.database import Database
from wherry.controller.store.tables import BlobRow, DesiredRow, DeviceRow, RolloutRow, VersionRow
from wherry.protocol.blob import BlobRef
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import decode_manifest


def live_blobs(db: Database) -> list[BlobRef]:
    """All blobs that a live rollout, or a device that is behind its desired document, still needs.

    So does a device that fetches once more what it had committed, since its file was damaged on disk.

    Manifests come first, as devices ask for them first. Each blob once.
    """
    with db.read() as session:
        versions = {**_rolling(session), **_lagging(session)}
        manifests = [_manifest_ref(session, row) for row in versions.values()]
        rest = [ref for row in versions.values() for ref in _variant_refs(row)]
    return list({ref.digest: ref for ref in [*manifests, *rest]}.values())


_Versions = dict[tuple[str, int], VersionRow]


def _rolling(session: Session) -> _Versions:
    rows = session.scalars(select(RolloutRow).where(RolloutRow.state.in_(LIVE), RolloutRow.state != "reverting"))
    return {(row.model, row.version): session.get_one(VersionRow, (row.model, row.version)) for row in rows}


def _lagging(session: Session) -> _Versions:
    desired, device = DesiredRow, DeviceRow
    found: Select[*tuple[Any, ...]] = (
        select(
            desired.device, desired.slots, desired.epoch, desired.generation, device.reported, device.reported_epoch,
            device.reported_generation,
        )
        .join(device, device.id == desired.device)
        .where(*IN_SERVICE)
    )  # fmt: skip
    wanted = {key for keys in _needed.of(session.execute(found)) for key in keys}
    return {key: session.get_one(VersionRow, key) for key in sorted(wanted)}


def _unfinished(found: Row[Any]) -> tuple[tuple[str, int], ...]:
    """The versions that the device still has to fetch something of."""
    return tuple((entry.model, entry.version) for entry in assignments(found.slots) if _lags(found, entry))


def _lags(found: Row[Any], entry: Assignment) -> bool:
    order, accepted = (found.epoch, found.generation), (found.reported_epoch, found.reported_generation)
    if accepted < order:
        return True
    report = report_of(found, entry.slot)
    return progress(entry, order, report, accepted).standing == "in-progress" or is_trying(entry, report)


_needed = Kept(_unfinished)


def _manifest_ref(session: Session, row: VersionRow) -> BlobRef:
    return msgspec.convert(session.get_one(BlobRow, row.manifest_digest), BlobRef, from_attributes=True)


def _variant_refs(row: VersionRow) -> Iterator[BlobRef]:
    for variant in decode_manifest(row.manifest).variants:
        yield variant.artifact
        yield variant.golden
