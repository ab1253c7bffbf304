"""Which blobs must be on the broker now."""

from collections.abc import Iterator

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.members import LIVE
from wherry.controller.core.standing import is_trying, progress
from wherry.controller.operations.documents import assignments
from wherry.controller.operations.fleet import IN_SERVICE, report_of
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
    rows = session.execute(
        select(DesiredRow, DeviceRow).join(DeviceRow, DeviceRow.id == DesiredRow.device).where(*IN_SERVICE)
    )
    wanted = {(entry.model, entry.version) for desired, device in rows for entry in _unfinished(desired, device)}
    return {key: session.get_one(VersionRow, key) for key in sorted(wanted)}


def _unfinished(desired: DesiredRow, device: DeviceRow) -> Iterator[Assignment]:
    order = (desired.epoch, desired.generation)
    accepted = (device.reported_epoch, device.reported_generation)
    for entry in assignments(desired):
        report = report_of(device, entry.slot)
        attempted = progress(entry, order, report, accepted).standing == "in-progress" or is_trying(entry, report)
        if accepted < order or attempted:
            yield entry


def _manifest_ref(session: Session, row: VersionRow) -> BlobRef:
    return msgspec.convert(session.get_one(BlobRow, row.manifest_digest), BlobRef, from_attributes=True)


def _variant_refs(row: VersionRow) -> Iterator[BlobRef]:
    for variant in decode_manifest(row.manifest).variants:
        yield variant.artifact
        yield variant.golden
