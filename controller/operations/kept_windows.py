"""What was measured before versions had sums of behaviour, folded into them once.

Rules upheld here:
- Done once for a database, and marked in the same transaction: no window is counted twice, wherever it is cut off.
- Only windows that are kept are known: those of a day at most. What has a sum already is left as it is.
- Of a version that a live rollout has sent to a device, only what was measured after that counts.
- A window that cannot be read is passed over: no measurement is worth a controller that does not start.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from wherry.controller.core.behaviour import Behaviour, after_window
from wherry.controller.core.members import LIVE
from wherry.controller.store.database import Database
from wherry.controller.store.tables import BehaviourRow, MetaRow, RolloutDeviceRow, RolloutRow, TelemetryRow
from wherry.protocol.down.desired import Assignment
from wherry.protocol.latency import LatencySketch
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Telemetry
from wherry.protocol.up.telemetry import SystemReading

DONE = "windows_folded"
"""In the table `meta`."""

TOGETHER = 500

_Key = tuple[str, str, str, int]
"""Device, slot, model, version."""

_key: Callable[[Any], _Key] = attrgetter("device", "slot", "model", "version")


def fold_in(db: Database, *, now_s: float) -> int:
    """Make sums of the windows that are kept; how many. None where that was done before."""
    with db.write() as session:
        if session.get(MetaRow, DONE) is not None:
            return 0
        session.add(MetaRow(key=DONE, value="1"))
        column = BehaviourRow.__table__.c
        known = set(map(_key, session.execute(select(column.device, column.slot, column.model, column.version))))
        sums = {key: body for key, body in _sums(session) if key not in known}
        rows = [
            {"device": key[0], "slot": key[1], "model": key[2], "version": key[3], "body": body, "changed_s": now_s}
            for key, body in sums.items()
        ]
        for first in range(0, len(rows), TOGETHER):
            session.connection().execute(insert(BehaviourRow), rows[first : first + TOGETHER])
        return len(rows)


def _sums(session: Session) -> Iterator[tuple[_Key, bytes]]:
    """One window in memory at a time, in the order of the index by version."""
    window, since_s = TelemetryRow.__table__.c, _sent_s(session)
    order = (window.device, window.slot, window.model, window.version, window.received_s)
    found = session.execute(select(*window).order_by(*order).execution_options(yield_per=TOGETHER))
    for key, rows in groupby(found, _key):
        seen = Behaviour()
        for row in rows:
            if row.received_s < since_s.get(key, 0.0):
                continue
            with suppress(msgspec.MsgspecError):
                seen = after_window(seen, _telemetry(row))
        yield key, msgspec.json.encode(seen)


def _sent_s(session: Session) -> Mapping[_Key, float]:
    """When live rollouts sent their versions."""
    entry = RolloutDeviceRow
    live = select(entry.device, entry.sent, entry.sent_s).join(RolloutRow, RolloutRow.id == entry.rollout)
    found: dict[_Key, float] = {}
    for row in session.execute(live.where(RolloutRow.state.in_(LIVE), entry.sent.is_not(None))):
        sent = msgspec.json.decode(row.sent, type=Assignment)
        found[row.device, sent.slot, sent.model, sent.version] = row.sent_s or 0.0
    return found


def _telemetry(row: Any) -> Telemetry:
    """The message, as far as it was kept: how long the window was is not, nor of which variant."""
    return Telemetry(
        boot_id=row.boot_id,
        window=row.window,
        window_s=1.0,
        slot=row.slot,
        ref=VersionRef(model=row.model, version=row.version, variant="", manifest="", artifact=row.artifact),
        phase=row.phase,
        inferences=row.inferences,
        errors=row.errors,
        labelled=row.labelled,
        correct=row.correct,
        latency=msgspec.json.decode(row.latency, type=LatencySketch),
        system=msgspec.json.decode(row.system, type=SystemReading),
        predictions=msgspec.json.decode(row.predictions, type=dict[int, int]),
        confidence=msgspec.json.decode(row.confidence, type=tuple[int, ...]) if row.confidence is not None else (),
    )
