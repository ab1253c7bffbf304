"""One-shot orders to a device: recorded here, then published by the caller, and answered by events that name their id.

Rules upheld here:
- A device's orders are bounded, and so is what they brought: the oldest are forgotten first.
"""

from typing import Literal

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from wherry.controller.errors import NotFound
from wherry.controller.operations import audit
from wherry.controller.operations.fleet import find_device
from wherry.controller.store.database import Database
from wherry.controller.store.tables import ActionRow, EventRow, UploadBlockRow, UploadRow
from wherry.protocol.down import Action
from wherry.protocol.types import Struct
from wherry.protocol.up import Event

MAX_ACTIONS = 100
"""Of one device, the newest."""

MAX_UPLOADS = 10
"""Of one device, the newest: 30 MiB at most."""

State = Literal["waiting", "done", "refused", "late"]
"""`late`: no answer, and the device would refuse it by now. An answer may still be on its way."""


class UploadView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`complete` once all of the bytes are here and have the digest; `blocks_here` counts those that came over MQTT."""

    digest: str
    size_bytes: int
    blocks: int
    blocks_here: int
    complete: bool


class ActionView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    action: Action
    ordered_s: float
    ordered_by: str
    state: State
    reason: str
    answered_s: float | None
    upload: UploadView | None


def record_action(db: Database, device: str, action: Action, *, now_s: float, actor: str) -> None:
    """Write down that the action was ordered. Raises NotFound for the device."""
    row = ActionRow(
        device=device, id=action.id, kind=action.kind, body=msgspec.json.encode(action), ordered_s=now_s,
        ordered_by=actor,
    )  # fmt: skip
    with db.write() as session:
        find_device(session, device)
        session.add(row)
        audit.record(session, "action-sent", device, now_s=now_s, actor=actor, order=action)
        session.flush()
        _forget_old(session, device)


def list_actions(db: Database, device: str, *, now_s: float) -> list[ActionView]:
    """Newest first. Raises NotFound."""
    with db.read() as session:
        find_device(session, device)
        newest = select(ActionRow).where(ActionRow.device == device).order_by(ActionRow.ordered_s.desc())
        answers = _answers(session, device)
        return [_view(session, row, answers.get(row.id), now_s) for row in session.scalars(newest)]


def get_action(db: Database, device: str, action_id: str, *, now_s: float) -> ActionView:
    """Raises NotFound."""
    with db.read() as session:
        row = find_action(session, device, action_id)
        return _view(session, row, _answers(session, device).get(action_id), now_s)


def find_action(session: Session, device: str, action_id: str) -> ActionRow:
    """Raises NotFound."""
    row = session.get(ActionRow, (find_device(session, device).id, action_id))
    if row is None:
        raise NotFound(f"no order {action_id!r} to {device}", f"see `wherry devices actions {device}`")
    return row


def _answers(session: Session, device: str) -> dict[str, EventRow]:
    """By the id of the order, of as many events as there can be orders."""
    kinds = ("action-done", "action-refused")
    wanted = select(EventRow).where(EventRow.device == device, EventRow.kind.in_(kinds))
    rows = session.scalars(wanted.order_by(EventRow.id.desc()).limit(2 * MAX_ACTIONS)).all()
    return {msgspec.json.decode(row.body, type=Event).action_id: row for row in reversed(rows)}


def _view(session: Session, row: ActionRow, answer: EventRow | None, now_s: float) -> ActionView:
    action = msgspec.json.decode(row.body, type=Action)
    state: State = "late" if now_s > action.not_after_s else "waiting"
    if answer is not None:
        state = "done" if answer.kind == "action-done" else "refused"
    return ActionView(
        action=action,
        ordered_s=row.ordered_s,
        ordered_by=row.ordered_by,
        state=state,
        reason="" if answer is None else msgspec.json.decode(answer.body, type=Event).reason,
        answered_s=None if answer is None else answer.received_s,
        upload=_upload(session, row),
    )


def _upload(session: Session, row: ActionRow) -> UploadView | None:
    columns = (UploadRow.digest, UploadRow.size_bytes, UploadRow.blocks, UploadRow.data.is_not(None))
    found = session.execute(
        select(*columns).where(UploadRow.device == row.device, UploadRow.action == row.id)
    ).one_or_none()
    if found is None:
        return None
    digest, size_bytes, blocks, complete = found
    here = select(func.count()).where(UploadBlockRow.device == row.device, UploadBlockRow.action == row.id)
    return UploadView(
        digest=digest, size_bytes=size_bytes, blocks=blocks, complete=complete,
        blocks_here=blocks if complete else session.scalars(here).one(),
    )  # fmt: skip


def _forget_old(session: Session, device: str) -> None:
    """All but the newest orders, and of the newest all but the newest uploads."""
    newest = select(ActionRow.id).where(ActionRow.device == device).order_by(ActionRow.ordered_s.desc())
    collecting = newest.where(ActionRow.kind == "collect-logs")
    forgotten = {*session.scalars(newest.offset(MAX_ACTIONS)), *session.scalars(collecting.offset(MAX_UPLOADS))}
    if forgotten:
        for table in (UploadBlockRow, UploadRow):
            session.execute(delete(table).where(table.device == device, table.action.in_(forgotten)))
        session.execute(delete(ActionRow).where(ActionRow.device == device, ActionRow.id.in_(forgotten)))
