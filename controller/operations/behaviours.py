"""How versions behave on devices: one row for each version of a slot, begun anew whenever it is sent there."""

import msgspec
from sqlalchemy.orm import Session

from wherry.controller.core.behaviour import Behaviour, after_crash, after_window
from wherry.controller.store.tables import BehaviourRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.up import Event, Telemetry

NOTHING_KNOWN = b"{}"
_decoder: msgspec.json.Decoder[Behaviour] = msgspec.json.Decoder(Behaviour)


def of(session: Session, device: str, assignment: Assignment) -> bytes | None:
    """What is known of it, as JSON; None where that is nothing."""
    row = session.get(BehaviourRow, (device, assignment.slot, assignment.model, assignment.version))
    return row.body if row is not None else None


def begin(session: Session, device: str, assignment: Assignment) -> None:
    """Forget how the version behaved there until now."""
    row = session.get(BehaviourRow, (device, assignment.slot, assignment.model, assignment.version))
    if row is not None:
        row.body = NOTHING_KNOWN


def add_window(session: Session, device: str, telemetry: Telemetry, *, now_s: float) -> None:
    """Add a window that was not known before."""
    row = _row(session, device, telemetry.slot, telemetry.ref.model, telemetry.ref.version)
    row.body, row.changed_s = msgspec.json.encode(after_window(_decoder.decode(row.body), telemetry)), now_s


def add_event(session: Session, device: str, event: Event, *, now_s: float) -> None:
    """Add an event that was not known before, where it says how a version behaves."""
    if event.kind != "worker-crashed" or event.slot is None or event.ref is None:
        return
    row = _row(session, device, event.slot, event.ref.model, event.ref.version)
    row.body, row.changed_s = msgspec.json.encode(after_crash(_decoder.decode(row.body))), now_s


def _row(session: Session, device: str, slot: str, model: str, version: int) -> BehaviourRow:
    row = session.get(BehaviourRow, (device, slot, model, version))
    if row is None:
        row = BehaviourRow(device=device, slot=slot, model=model, version=version, body=NOTHING_KNOWN, changed_s=0.0)
        session.add(row)
    return row
