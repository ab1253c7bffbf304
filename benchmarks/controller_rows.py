"""How large the database becomes: telemetry of simulated hours is taken in as always, and the file looked at."""

import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.controller_devices import window
from benchmarks.form import Result, Row, progress
from tests.support.controller_values import LITERT
from tests.support.depot import Depot
from wherry.controller.operations import ingest
from wherry.protocol.codec import encode
from wherry.protocol.types import VersionRef

WINDOW_S = 60.0
DAY_S = 24 * 3600.0
HOUR_S = 3600.0
SHA = "0123456789abcdef" * 4
REF = VersionRef(model="digits", version=1, variant="int8", manifest=SHA, artifact=SHA[::-1])


def measure(directory: Path, *, devices: int, hours: int) -> Result:
    """Telemetry alone: events and reports come with changes, and logs are bounded by lines."""
    progress(f"{hours} simulated hours of {devices} devices")
    depot = Depot(directory / "rows.db")
    names = [f"device-{number:05}" for number in range(devices)]
    for device in names:
        depot.device(device, LITERT)
    before, wire_bytes, count = _size(depot), 0, int(hours * HOUR_S / WINDOW_S)
    for number in range(count):
        for device in names:
            message = window(REF, number)
            wire_bytes += len(encode(message))
            ingest.apply_telemetry(depot.db, device, message, now_s=depot.now_s + number * WINDOW_S)
    grown = _size(depot) - before
    depot.db.close()
    days = devices * hours * HOUR_S / DAY_S
    what = "database for a device and a day of windows of a minute"
    n = f"{devices} x {count}"
    row = Row(figure=what, value=grown / days / 1e6, unit="MB", n=n,
              bare="the messages as they came", bare_value=wire_bytes / days / 1e6)  # fmt: skip
    name = "db_bytes_per_device_day"
    return Result(headline={name: grown / days}, n={"db_windows": devices * count}, rows=(row,))


def _size(depot: Depot) -> int:
    """Bytes of all pages, those in the log of the database included."""
    assert isinstance(depot.path, Path)
    with closing(sqlite3.connect(depot.path)) as db:
        pages, size_bytes = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages) * int(size_bytes)
