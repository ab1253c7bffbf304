"""Versions sent to the devices of a rollout, and what those had before given back: for many at once, as `entries`."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from wherry.controller.core.members import Order
from wherry.controller.core.standing import quarantine_reason
from wherry.controller.operations import behaviours, registry
from wherry.controller.operations.documents import Orders
from wherry.controller.operations.entries import Entry, change, entries_of
from wherry.controller.operations.fleet import report_of
from wherry.controller.operations.members import assignment
from wherry.controller.store.tables import RolloutRow, VersionRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import decode_manifest


def send(session: Session, row: RolloutRow, variants: Mapping[str, str], now_s: float) -> None:
    """Ask each device for its variant of the rollout's version, and record what was there before."""
    orders, entries = Orders(session, variants), entries_of(session, row, variants)
    known = _Assignments(session, row.slot)
    wanted = {device: known.of(row.model, row.version, variant) for device, variant in variants.items()}
    # What was there before the first of several attempts is what to give back.
    first = [device for device in variants if entries[device].sent is None]
    previous = {device: _incumbent(orders, known, device, row.slot, wanted[device]) for device in first}
    behaved = behaviours.of(session, {device: entry for device, entry in previous.items() if entry is not None})
    behaviours.begin(session, variants, row.slot, row.model, row.version)
    before = {device: (_encoded(entry), behaved.get(device)) for device, entry in previous.items()}
    changes = []
    for device, entry in entries.items():
        order = orders.want(device, row.slot, wanted[device], now_s=now_s)
        changes.append(_sent(entry, wanted[device], order, now_s, *before.get(device, (entry.previous, entry.before))))
    orders.write()
    change(session, row, changes)


def restore(session: Session, row: RolloutRow, devices: Collection[str], now_s: float) -> None:
    """Ask each for what it had before the version; not those who have left the fleet and are asked for it no more."""
    orders, entries = Orders(session, devices), entries_of(session, row, devices).values()
    asked = [entry for entry in entries if _is_still_asked(orders, row, entry)]
    give_back(session, orders, row, asked, now_s)
    left = {entry.device for entry in entries} - {entry.device for entry in asked}
    change(session, row, [_restored(device, (0, 0), now_s) for device in left])


def give_back(session: Session, orders: Orders, row: RolloutRow, entries: Iterable[Entry], now_s: float) -> None:
    """Ask each device for what it had before the version. The devices are among those of `orders`."""
    changes = []
    for entry in entries:
        order = orders.want(entry.device, row.slot, assignment(entry.previous), now_s=now_s)
        changes.append(_restored(entry.device, order, now_s))
    orders.write()
    change(session, row, changes)


def _sent(
    entry: Entry, wanted: Assignment, order: Order, now_s: float, previous: bytes | None, before: bytes | None
) -> dict[str, Any]:
    return {
        "device": entry.device, "standing": "sent", "reason": "", "standing_s": now_s,
        "sent": _encoded(wanted), "sent_epoch": order[0], "sent_generation": order[1], "sent_s": now_s,
        "attempts": entry.attempts + 1, "previous": previous, "before": before,
    }  # fmt: skip


def _restored(device: str, order: Order, now_s: float) -> dict[str, Any]:
    return {"device": device, "restored_epoch": order[0], "restored_generation": order[1], "restored_s": now_s}


def _encoded(entry: Assignment | None) -> bytes | None:
    return msgspec.json.encode(entry) if entry is not None else None


def _is_still_asked(orders: Orders, row: RolloutRow, entry: Entry) -> bool:
    """Not one that has left the fleet, where its document names the version no more: it has another, or none."""
    device = orders.device(entry.device)
    if entry.wave > 0 and device.removed_s is None and device.decommissioned_s is None:
        return True
    return orders.asked(entry.device, row.slot) == assignment(entry.sent)


class _Assignments:
    """Assignments to one slot, each made once: thousands of devices are given the same few."""

    def __init__(self, session: Session, slot: str) -> None:
        self._session, self._slot = session, slot
        self._made: dict[tuple[str, int, str], Assignment | None] = {}

    def of(self, model: str, version: int, variant: str) -> Assignment:
        """Of a version and a variant that there are."""
        made = self.find(model, version, variant)
        assert made is not None
        return made

    def find(self, model: str, version: int, variant: str) -> Assignment | None:
        key = (model, version, variant)
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def _make(self, model: str, version: int, variant: str) -> Assignment | None:
        row = self._session.get(VersionRow, (model, version))
        if row is None or decode_manifest(row.manifest).variant(variant) is None:
            return None
        return registry.assignment(self._session, row, variant, self._slot)


def _incumbent(orders: Orders, known: _Assignments, device: str, slot: str, wanted: Assignment) -> Assignment | None:
    """What to give back to the device later: what it says it runs, else what it was last asked to run.

    None where that is nothing, or the very version that is being sent and not known to run, or an
    artifact that the device holds in quarantine.
    """
    running = _running(orders.device(device), known, slot)
    if running is not None:
        return running
    asked = orders.asked(device, slot)
    report = report_of(orders.device(device), slot)
    if asked is None or asked.ref == wanted.ref or quarantine_reason(report, asked.artifact) is not None:
        return None
    return asked


def _running(device: Row[Any], known: _Assignments, slot: str) -> Assignment | None:
    """None where that is no version of this controller: its number may stand for another one since a restore."""
    report = report_of(device, slot)
    if report is None or report.phase != "running" or report.serving is None:
        return None
    serving = report.serving
    found = known.find(serving.model, serving.version, serving.variant)
    return found if found is not None and found.manifest.digest == serving.manifest else None
