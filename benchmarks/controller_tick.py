"""How long one tick takes over a rollout of many devices: the decision alone, and all of it with the database.

What is measured:
- A rollout whose only wave is open. Of four devices three have committed the version and answered inferences with it
  and with the one before, so that every gate has evidence from each; the fourth has not taken its document yet. No two
  devices say the same, so that nothing is decoded once for all.
- The decision is the pure function of the engine, on rows that were read. The tick is the operation that the
  controller's loop calls: it reads every row, decides, and writes what is new, which here is nothing. The first tick
  after a start, when nothing is decoded yet, is told apart.
- Beside the decision stands a loop that looks at one field of each device, beside the tick one that fetches the same
  rows from the same file by `sqlite3` and decodes nothing.
"""

import gc
import sqlite3
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import insert, select

from benchmarks.form import Failed, Result, Row, progress
from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from wherry.controller.core.members import Member, Rollout
from wherry.controller.core.plan import WaveStep
from wherry.controller.core.rollout import decide
from wherry.controller.operations import members, rollouts
from wherry.controller.store.tables import BehaviourRow, DesiredRow, DeviceRow, RolloutDeviceRow, RolloutRow

TEMPLATES = ("template-1", "template-2", "template-3", "template-4")
WINDOWS = 3
INFERENCES = 200
COPIED = (DeviceRow, DesiredRow, BehaviourRow, RolloutDeviceRow)
CHUNK = 5000
WAITS = {"min_inferences": 10**12, "waves": (WaveStep(amount=100, percent=True),), "device_deadline_s": 1e9}
"""So that a tick has everything to look at and nothing to do."""


class Took(NamedTuple):
    """Medians: of the clock, and of this process's processors, which other work on the machine does not lengthen."""

    wall_s: float
    cpu_s: float


def measure(directory: Path, *, sizes: tuple[int, ...], repetitions: int) -> Result:
    decisions, ticks, firsts, rows = {}, {}, {}, []
    for size in sizes:
        progress(f"a rollout over {size:,} devices")
        depot = _fleet(directory / f"{size}.db", size)
        firsts[size] = _took(lambda depot=depot: _first_tick(depot), 1)
        ticks[size] = _took(lambda depot=depot: _tick(depot), repetitions)
        decisions[size], looked = _decision(depot, size, repetitions)
        fetched = _took(lambda depot=depot: _fetch(depot), repetitions)
        depot.db.close()
        rows += _rows(size, repetitions, decisions[size], looked, ticks[size], fetched)
    return Result(
        headline={"tick_s": _by_size(decisions), "tick_with_database_s": _by_size(ticks)},
        n={"tick_repetitions": repetitions},
        rows=tuple(rows),
        detail={f"first_tick_with_database_{size}_s": took.wall_s for size, took in firsts.items()}
        | {f"tick_cpu_{size}_s": took.cpu_s for size, took in decisions.items()}
        | {f"tick_with_database_cpu_{size}_s": took.cpu_s for size, took in ticks.items()}
        | {"tick_growth": _growth(decisions), "tick_with_database_growth": _growth(ticks)},
    )


def _rows(size: int, n: int, decision: Took, looked: Took, tick: Took, fetched: Took) -> list[Row]:
    return [
        Row(figure=f"decision of one tick, {size:,} devices, median", value=decision.wall_s, unit="s", n=str(n),
            bare="a look at each device", bare_value=looked.wall_s),
        Row(figure=f"a whole tick with the database, {size:,} devices, median", value=tick.wall_s, unit="s", n=str(n),
            bare="sqlite3 fetches the same rows", bare_value=fetched.wall_s),
    ]  # fmt: skip


def _by_size(values: dict[int, Took]) -> dict[str, float]:
    return {str(size): took.wall_s for size, took in values.items()}


def _growth(values: dict[int, Took]) -> float:
    """The processor's time for each device at the largest size, in terms of that at the size before it: 1 is linear."""
    if len(values) < 2:
        return 1.0
    (smaller, before), (larger, after) = list(values.items())[-2:]
    return (after.cpu_s / larger) / (before.cpu_s / smaller)


def _took(work: Callable[[], object], repetitions: int) -> Took:
    """Garbage of what went before is collected first; what is collected meanwhile counts."""
    walls, cpus = [], []
    for _ in range(repetitions):
        gc.collect()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall_s)
        cpus.append(time.process_time() - cpu_s)
    return Took(statistics.median(walls), statistics.median(cpus))


def _first_tick(depot: Depot) -> None:
    """As after a start, when nothing has been decoded yet."""
    for entry in vars(members).values():
        if hasattr(entry, "cache_clear") and not isinstance(entry, type):
            entry.cache_clear()
    _tick(depot)


def _tick(depot: Depot) -> None:
    if moved := rollouts.tick(depot.db, now_s=depot.now_s):
        raise Failed(f"a tick that should find nothing to do sent documents to {len(moved)} devices")


def _decision(depot: Depot, size: int, repetitions: int) -> tuple[Took, Took]:
    """Of the engine, and of a loop that only looks; raises Failed where not every device was decided over."""
    rollout, found = _load(depot)
    if len(found) != size:
        raise Failed(f"the rollout has {len(found)} devices and not {size}")
    decision = _took(lambda: decide(rollout, found, depot.now_s), repetitions)
    return decision, _took(lambda: Counter(entry.standing for entry in found), repetitions)


def _load(depot: Depot) -> tuple[Rollout, list[Member]]:
    with depot.db.read() as session:
        return members.load(session, session.scalars(select(RolloutRow).order_by(RolloutRow.id.desc())).first())


def _fetch(depot: Depot) -> None:
    query = """SELECT * FROM rollout_devices r JOIN devices d ON d.id = r.device
        LEFT JOIN behaviours b ON b.device = r.device AND b.version = 2
        WHERE r.rollout = 2 ORDER BY r.wave, r.position"""
    with closing(sqlite3.connect(depot.path)) as db:
        db.execute(query).fetchall()


# A fleet in a database


def _fleet(path: Path, size: int) -> Depot:
    """A database in the middle of a rollout, made of four devices that went through it and copies of them."""
    depot = Depot(path)
    for device in TEMPLATES:
        depot.device(device)
    for number in (1, 2):
        depot.version(str(number))
        rollouts.start(depot.db, make_plan(number, **WAITS), now_s=depot.now_s, actor="bench")
        for device in TEMPLATES if number == 1 else TEMPLATES[:3]:
            depot.commit(device)
            _say_windows(depot, device)
        if number == 1:
            rollouts.abort(depot.db, 1, restore="keep", now_s=depot.now_s, actor="bench")
    rollouts.tick(depot.db, now_s=depot.now_s)
    _multiply(depot, size)
    rollouts.tick(depot.db, now_s=depot.now_s)
    return depot


def _say_windows(depot: Depot, device: str) -> None:
    ref = depot.runs(device)
    assert ref is not None
    for _ in range(WINDOWS):
        depot.telemetry(device, ref, latencies_ms=[1.0 + (i % 50) / 10 for i in range(INFERENCES)])


def _multiply(depot: Depot, size: int) -> None:
    with depot.db.write() as session:
        found = {
            table: [dict(row) for row in session.execute(select(*table.__table__.columns)).mappings()]
            for table in COPIED
        }
        for table, rows in found.items():
            copies = _copies(table, rows, size)
            while chunk := [entry for _, entry in zip(range(CHUNK), copies, strict=False)]:
                session.execute(insert(table), chunk)


def _copies(table: type[Any], rows: list[dict[str, Any]], size: int) -> Iterator[dict[str, Any]]:
    key = "id" if table is DeviceRow else "device"
    for number in range(len(TEMPLATES), size):
        template = TEMPLATES[number % len(TEMPLATES)]
        for row in rows:
            if row[key] == template:
                yield {**row, key: f"device-{number}", **_own(row, number)}


def _own(row: dict[str, Any], number: int) -> dict[str, Any]:
    """What makes the rows of one device unlike those of every other."""
    own: dict[str, Any] = {"position": number} if "position" in row else {}
    if row.get("birth"):
        own["birth"] = row["birth"].replace(b'"boot_id":"', f'"boot_id":"{number}-'.encode())
    if row.get("reported"):
        told = msgspec.json.decode(row["reported"])
        told["slots"][0]["outcome"]["reason"] = f"told by device {number}"
        own["reported"] = msgspec.json.encode(told)
    for column in ("body", "before"):
        if row.get(column):
            told = msgspec.json.decode(row[column])
            own[column] = msgspec.json.encode(told | {"inferences": told.get("inferences", 0) + number})
    return own
