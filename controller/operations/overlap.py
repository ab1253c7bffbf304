"""Two rollouts never move the same slot of the same device."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.members import LIVE
from wherry.controller.errors import Conflict
from wherry.controller.store.tables import RolloutDeviceRow, RolloutRow


def refuse_overlap(session: Session, slot: str, devices: Collection[str]) -> None:
    """Raises Conflict where a live rollout has one of the devices in `slot`."""
    rows = session.execute(
        select(RolloutRow, RolloutDeviceRow.device)
        .join(RolloutDeviceRow, RolloutDeviceRow.rollout == RolloutRow.id)
        .where(RolloutRow.state.in_(LIVE), RolloutRow.slot == slot, RolloutDeviceRow.wave > 0)
        .order_by(RolloutRow.id, RolloutDeviceRow.device)
    )
    wanted = set(devices)
    taken = [(rollout, device) for rollout, device in rows if device in wanted]
    if taken:
        rollout, device = taken[0]
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise Conflict(
            f"rollout {rollout.id} of {rollout.model}:{rollout.version} is {rollout.state} on {device}{more}",
            f"wait for it, or end it with `wherry rollout abort {rollout.id}`",
        )
