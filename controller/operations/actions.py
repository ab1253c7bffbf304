"""One-shot orders to a device: recorded here, then published by the caller, and answered by events that name their id.

Rules upheld here:
- A device's orders are bounded, and so is what they brought: the oldest are forgotten first.
"""

import hmac
import math
from typing import Literal

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from wherry.controller.errors import Conflict, NotFound
from wherry.controller.operations import audit
from wherry.controller.operations.fleet import find_device
from wherry.controller.store.database import Database
from wherry.controller.store.tables import ActionRow, EventRow, MetaRow, UploadBlockRow, UploadRow
from wherry.protocol.down import Action
from wherry.protocol.types import Struct
from wherry.protocol.up import Event

MAX_ACTIONS = 100
"""Of one device, the newest."""

MAX_UPLOADS = 10
"""Of one device, the newest: 30 MiB at most."""

IDS_ROW = "action_secret"
"""In the table of single values: what makes keys of clients into ids that nobody guesses."""

ID_CHARACTERS = 16

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


def id_of_key(db: Database, device: str, key: str, *, fresh_secret: str) -> str:
    """The id of the order that a client calls `key`, the same for ever; another one at another device.

    Who knows the key cannot guess it: an id lets a device bring logs. `fresh_secret` is kept where there is none yet.
    """
    with db.write() as session:
        row = session.get(MetaRow, IDS_ROW)
        if row is None:
            row = MetaRow(key=IDS_ROW, value=fresh_secret)
            session.add(row)
        return hmac.new(row.value.encode(), f"{device}\n{key}".encode(), "sha256").hexdigest()[:ID_CHARACTERS]


def record_action(db: Database, device: str, action: Action, *, now_s: float, actor: str) -> Action:
    """Write down that the action was ordered; where its id was ordered before, the order is what it was then.

    Raises NotFound for the device, Conflict where the id was given to another order.
    """
    row = ActionRow(
        device=device, id=action.id, kind=action.kind, body=msgspec.json.encode(action), ordered_s=now_s,
        ordered_by=actor,
    )  # fmt: skip
    with db.write() as session:
        find_device(session, device)
        known = session.get(ActionRow, (device, action.id))
        if known is not None:
            return _same(known, action, now_s)
        session.add(row)
        audit.record(session, "action-sent", device, now_s=now_s, actor=actor, order=action)
        session.flush()
        _forget_old(session, device)
        return action


def _same(known: ActionRow, action: Action, now_s: float) -> Action:
    """Of the times only how long it is valid counts; of the address to bring something to, nothing."""
    before = msgspec.json.decode(known.body, type=Action)
    valid_s = before.not_after_s - known.ordered_s, action.not_after_s - now_s
    as_ordered = (before.kind, before.slot, before.artifact) == (action.kind, action.slot, action.artifact)
    if not as_ordered or not math.isclose(*valid_s, rel_tol=1e-6, abs_tol=1e-3):
        raise Conflict(f"the key was used for another order to {known.device}", "choose another key")
    return before


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
