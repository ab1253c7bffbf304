"""What actions bring from devices: whole over HTTP, or in blocks over MQTT; kept once its bytes have their digest.

Rules upheld here:
- Only what was ordered of this very device is taken, so nobody can fill the disk by sending.
- A block or a whole that comes twice changes nothing; one that contradicts what came before is refused.
"""

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations.actions import find_action
from wherry.controller.store.database import Database
from wherry.controller.store.insert import insert_new
from wherry.controller.store.tables import ActionRow, UploadBlockRow, UploadRow
from wherry.protocol.blob import sha256
from wherry.protocol.errors import Malformed
from wherry.protocol.limits import UPLOAD_BLOCK_BYTES
from wherry.protocol.types import Struct
from wherry.protocol.up import Upload

COLLECTS = "collect-logs"


class Whole(Struct, frozen=True, kw_only=True):
    digest: str
    data: bytes


def take_block(db: Database, device: str, upload: Upload, *, now_s: float) -> bool:
    """Keep a block; with the last one, the whole. False where nothing new is kept. Raises Malformed."""
    _check_shape(upload)
    with db.write() as session:
        ordered = session.get(ActionRow, (device, upload.action_id))
        if ordered is None or ordered.kind != COLLECTS:
            raise Malformed(f"nobody ordered {upload.action_id!r} of {device}")
        row = _row(session, device, upload, now_s)
        if row.data is not None or not _keep(session, device, upload):
            return False
        if _count(session, row) == row.blocks:
            return _join(session, row)
        return True


def take_whole(db: Database, device: str, action_id: str, data: bytes, digest: str, *, now_s: float) -> bool:
    """Keep what came over HTTP; False where it was here. Raises NotFound, Invalid for other bytes, Conflict."""
    if sha256(data) != digest:
        raise Invalid("the body does not have the digest that Repr-Digest names", "send it again")
    with db.write() as session:
        if find_action(session, device, action_id).kind != COLLECTS:
            raise Conflict(f"the order {action_id} brings nothing")
        row = session.get(UploadRow, (device, action_id))
        if row is not None and row.data is not None:
            if row.digest != digest:
                raise Conflict(f"{action_id} brought something else already")
            return False
        if row is not None:
            _drop(session, row)
        session.add(
            UploadRow(
                device=device,
                action=action_id,
                digest=digest,
                size_bytes=len(data),
                blocks=_blocks(len(data)),
                data=data,
                received_s=now_s,
            )
        )
        return True


def get_whole(db: Database, device: str, action_id: str) -> Whole:
    """Raises NotFound, also while not all of it is here."""
    with db.read() as session:
        find_action(session, device, action_id)
        row = session.get(UploadRow, (device, action_id))
        if row is None or row.data is None:
            raise NotFound(f"nothing has come of {action_id} yet", f"see `wherry devices actions {device}`")
        return Whole(digest=row.digest, data=row.data)


def _blocks(size_bytes: int) -> int:
    return -(-size_bytes // UPLOAD_BLOCK_BYTES)


def _check_shape(upload: Upload) -> None:
    last = upload.size_bytes - (upload.count - 1) * UPLOAD_BLOCK_BYTES
    expected = last if upload.index == upload.count - 1 else UPLOAD_BLOCK_BYTES
    if upload.count != _blocks(upload.size_bytes) or upload.index >= upload.count or len(upload.data) != expected:
        raise Malformed(f"block {upload.index} of {upload.count} with {len(upload.data)} bytes does not fit its whole")


def _row(session: Session, device: str, upload: Upload, now_s: float) -> UploadRow:
    row = session.get(UploadRow, (device, upload.action_id))
    if row is None:
        row = UploadRow(
            device=device, action=upload.action_id, digest=upload.digest, size_bytes=upload.size_bytes,
            blocks=upload.count, data=None, received_s=now_s,
        )  # fmt: skip
        session.add(row)
        session.flush()
    if (row.digest, row.size_bytes) != (upload.digest, upload.size_bytes):
        raise Malformed(f"{upload.action_id} brings something else by now")
    row.received_s = now_s
    return row


def _keep(session: Session, device: str, upload: Upload) -> bool:
    values = {"device": device, "action": upload.action_id, "index": upload.index, "data": upload.data}
    return insert_new(session, UploadBlockRow, values)


def _mine(row: UploadRow) -> tuple[object, object]:
    return UploadBlockRow.device == row.device, UploadBlockRow.action == row.action


def _count(session: Session, row: UploadRow) -> int:
    return session.scalars(select(func.count()).where(*_mine(row))).one()  # type: ignore[arg-type]


def _join(session: Session, row: UploadRow) -> bool:
    """Whether the blocks together are the whole; where not, all are forgotten, to be sent again."""
    wanted = select(UploadBlockRow.data).where(*_mine(row)).order_by(UploadBlockRow.index)  # type: ignore[arg-type]
    data = b"".join(session.scalars(wanted))
    session.execute(delete(UploadBlockRow).where(*_mine(row)))  # type: ignore[arg-type]
    if sha256(data) != row.digest:
        session.delete(row)
        return False
    row.data = data
    return True


def _drop(session: Session, row: UploadRow) -> None:
    session.execute(delete(UploadBlockRow).where(*_mine(row)))  # type: ignore[arg-type]
    session.delete(row)
    session.flush()
