"""Versions sent to the devices of a rollout, and what those had before given back: for many at once.

Rule upheld here: a few statements for all of them, however many there are, or opening a wave holds up the fleet.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy.orm import Session

from wherry.controller.core.standing import quarantine_reason
from wherry.controller.operations import behaviours, registry
from wherry.controller.operations.documents import Orders
from wherry.controller.operations.fleet import report_of
from wherry.controller.operations.members import assignment
from wherry.controller.store.rows import rows_by
from wherry.controller.store.tables import DeviceRow, RolloutDeviceRow, RolloutRow, VersionRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.manifest import decode_manifest


def send(session: Session, row: RolloutRow, variants: Mapping[str, str], now_s: float) -> None:
    """Ask each device for its variant of the rollout's version, and record what was there before."""
    orders, entries = Orders(session, variants), entries_of(session, row, variants)
    known = _Assignments(session, row.slot)
    wanted = {device: known.of(row.model, row.version, variant) for device, variant in variants.items()}
    # What was there before the first of several attempts is what to give back.
    first = [device for device in variants if entries[device].sent is None]
    before = {device: _incumbent(orders, known, device, row.slot, wanted[device]) for device in first}
    behaved = behaviours.of(session, {device: entry for device, entry in before.items() if entry is not None})
    behaviours.begin(session, variants, row.slot, row.model, row.version)
    for device, previous in before.items():
        entries[device].previous = msgspec.json.encode(previous) if previous is not None else None
        entries[device].before = behaved.get(device)
    for device, entry in entries.items():
        entry.sent_epoch, entry.sent_generation = orders.want(device, row.slot, wanted[device], now_s=now_s)
        entry.sent, entry.attempts, entry.sent_s = msgspec.json.encode(wanted[device]), entry.attempts + 1, now_s
        entry.standing, entry.reason, entry.standing_s = "sent", "", now_s


def restore(session: Session, row: RolloutRow, devices: Sequence[str], now_s: float) -> None:
    """Ask each for what it had before the version; not those who have left the fleet and are asked for it no more."""
    orders, entries = Orders(session, devices), entries_of(session, row, devices)
    for entry in entries.values():
        if _is_still_asked(orders, row, entry):
            _give_back(orders, row, entry, now_s)
        else:
            entry.restored_epoch, entry.restored_generation, entry.restored_s = 0, 0, now_s


def give_back(session: Session, row: RolloutRow, entry: RolloutDeviceRow, now_s: float) -> None:
    """Ask one device for what it had before the version."""
    _give_back(Orders(session, [entry.device]), row, entry, now_s)


def entries_of(session: Session, row: RolloutRow, devices: Iterable[str]) -> dict[str, RolloutDeviceRow]:
    """The rollout's rows of the devices, in the order of `devices`."""
    listed = list(devices)
    entry = RolloutDeviceRow
    found = rows_by(session, entry, entry.device, listed, entry.rollout == row.id)
    return {device: found[device] for device in listed}


def _give_back(orders: Orders, row: RolloutRow, entry: RolloutDeviceRow, now_s: float) -> None:
    order = orders.want(entry.device, row.slot, assignment(entry.previous), now_s=now_s)
    (entry.restored_epoch, entry.restored_generation), entry.restored_s = order, now_s


def _is_still_asked(orders: Orders, row: RolloutRow, entry: RolloutDeviceRow) -> bool:
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


def _running(device: DeviceRow, known: _Assignments, slot: str) -> Assignment | None:
    """None where that is no version of this controller: its number may stand for another one since a restore."""
    report = report_of(device, slot)
    if report is None or report.phase != "running" or report.serving is None:
        return None
    serving = report.serving
    found = known.find(serving.model, serving.version, serving.variant)
    return found if found is not None and found.manifest.digest == serving.manifest else None
