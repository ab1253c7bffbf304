"""Rows to what the engine knows: a rollout and its members, read in one transaction."""

from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import msgspec
from sqlalchemy import Row, Select, and_, select
from sqlalchemy.orm import Session

from wherry.controller.core.behaviour import Behaviour
from wherry.controller.core.members import End, Kind, Member, Override, Restored, Rollout, Sent, Standing, State
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.operations.fleet import KEPT_DECODED, decode_birth
from wherry.controller.operations.kept import Kept
from wherry.controller.store.tables import BehaviourRow, DeviceRow, RolloutDeviceRow, RolloutRow, VersionRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import decode_manifest
from wherry.protocol.up import Reported
from wherry.protocol.up.reported import SlotReport

NOTHING = Behaviour()

_assignment: msgspec.json.Decoder[Assignment] = msgspec.json.Decoder(Assignment)
_behaviour: msgspec.json.Decoder[Behaviour] = msgspec.json.Decoder(Behaviour)
_reported: msgspec.json.Decoder[Reported] = msgspec.json.Decoder(Reported)


def load(session: Session, row: RolloutRow) -> tuple[Rollout, list[Member]]:
    """Everything that `core.rollout.decide` asks for, but the time."""
    version = session.get_one(VersionRow, (row.model, row.version))
    rollout = Rollout(
        plan=msgspec.json.decode(row.plan, type=RolloutPlan),
        variants=decode_manifest(version.manifest).variants,
        state=cast("State", row.state),
        wave=row.wave,
        wave_count=row.wave_count,
        wave_opened_s=row.wave_opened_s,
        kind=cast("Kind", row.kind),
        ending=cast("End", row.ending),
        reason=row.reason,
        created_s=row.created_s,
        restore_from=row.restore_from,
        overrides=msgspec.json.decode(row.overrides, type=tuple[Override, ...]),
    )
    return rollout, _members.of(row, session.execute(_columns(row)))


def assignment(body: bytes | None) -> Assignment | None:
    return _assignment.decode(body) if body is not None else None


def behaviour(body: bytes | None) -> Behaviour:
    return _behaviour.decode(body) if body is not None else NOTHING


def _columns(row: RolloutRow) -> Select[*tuple[Any, ...]]:
    """Columns and not objects: this is read at every tick, for every device."""
    entry, device, seen = RolloutDeviceRow, DeviceRow, BehaviourRow
    same = and_(
        seen.device == entry.device, seen.slot == row.slot, seen.model == row.model, seen.version == row.version
    )
    return (
        select(
            entry.device, entry.wave, entry.standing, entry.reason, entry.standing_s, entry.sent, entry.previous,
            entry.before, entry.attempts, entry.sent_epoch, entry.sent_generation, entry.sent_s,
            entry.restored_epoch, entry.restored_generation, entry.restored_s,
            device.removed_s, device.decommissioned_s, device.birth, device.reported, device.reported_epoch,
            device.reported_generation, device.presence, device.presence_s, seen.body,
        )
        .join(device, device.id == entry.device)
        .join(seen, same, isouter=True)
        .where(entry.rollout == row.id)
        .order_by(entry.wave, entry.position)
    )  # fmt: skip


def _member(slot: str, found: Row[Any]) -> Member:
    sent = _sent(found)
    return Member(
        device=found.device,
        wave=found.wave,
        known=found.removed_s is None and found.decommissioned_s is None,
        birth=decode_birth(found.birth) if found.birth is not None else None,
        report=_report(found.reported, slot) if found.reported is not None else None,
        accepted=(found.reported_epoch, found.reported_generation),
        sent=sent,
        restored=_restored(found),
        presence=found.presence,
        presence_s=found.presence_s,
        behaviour=behaviour(found.body) if sent is not None else NOTHING,
        before=behaviour(found.before),
        standing=cast("Standing", found.standing),
        reason=found.reason,
        standing_s=found.standing_s,
    )


def _sent(found: Row[Any]) -> Sent | None:
    if found.sent is None or found.sent_s is None:
        return None
    return Sent(
        assignment=_assignment.decode(found.sent),
        previous=assignment(found.previous),
        order=(found.sent_epoch, found.sent_generation),
        at_s=found.sent_s,
        attempts=found.attempts,
    )


def _restored(found: Row[Any]) -> Restored | None:
    if found.restored_s is None:
        return None
    return Restored(order=(found.restored_epoch, found.restored_generation), at_s=found.restored_s)


class _Members:
    """Those of each rollout and slot. The rollouts looked at last stay, as many as there is room for."""

    def __init__(self) -> None:
        self._by_rollout: dict[tuple[int, str], Kept[Member]] = {}
        self.cache_clear = self._by_rollout.clear

    def of(self, row: RolloutRow, rows: Iterable[Row[Any]]) -> list[Member]:
        key = (row.id, row.slot)
        kept = self._by_rollout.pop(key, None) or Kept(partial(_member, row.slot))
        members = kept.of(rows)
        self._by_rollout[key] = kept
        self._forget()
        return members

    def _forget(self) -> None:
        while len(self._by_rollout) > 1 and sum(map(len, self._by_rollout.values())) > KEPT_DECODED:
            del self._by_rollout[next(iter(self._by_rollout))]


_members = _Members()


def _report(body: bytes, slot: str) -> SlotReport | None:
    return next((entry for entry in _reported.decode(body).slots if entry.slot == slot), None)
