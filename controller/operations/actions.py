"""One-shot orders to a device: recorded here, then published by the caller."""

from wherry.controller.operations import audit
from wherry.controller.operations.fleet import find_device
from wherry.controller.store.database import Database
from wherry.protocol.down import Action


def record_action(db: Database, device: str, action: Action, *, now_s: float, actor: str) -> None:
    """Write down that the action was ordered. Raises NotFound for the device."""
    with db.write() as session:
        find_device(session, device)
        audit.record(session, "action-sent", device, now_s=now_s, actor=actor, order=action)
