"""What happened: as a table for people, and as `summary.json` for programs."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from examples.voyage import readings
from examples.voyage.readings import Detail

Row = dict[str, Any]


def device_row(name: str, detail: Detail, unsent: Sequence[dict[str, str]]) -> Row:
    """`p50_ms`, `p95_ms` and `accuracy` are of the version that it serves, over all the time that it did."""
    version = readings.serving(detail)
    seen = readings.reading(detail, version)
    return {
        "id": name,
        "runtime": readings.runtime(detail),
        "version": version,
        "p50_ms": seen.get("p50_ms"),
        "p95_ms": seen.get("p95_ms"),
        "accuracy": seen.get("accuracy"),
        "reverts": readings.reverts(detail),
        "not_sent": list(unsent),
    }


def write(path: Path, steps: Sequence[Row], devices: Sequence[Row], *, ok: bool, seconds: float) -> None:
    """Whole or not at all."""
    body = {"ok": ok, "seconds": round(seconds, 1), "steps": steps, "devices": devices}
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
    part.replace(path)


def show(console: Any, devices: Sequence[Row]) -> None:
    """Two tables that fit 80 columns: the figures, and the reasons for what was taken back or never sent."""
    console.print(
        _table(("device", "runtime", "version", "p50 ms", "p95 ms", "accuracy", "reverts"), _figures(devices))
    )
    console.print(_table(("device", "version", "what", "why"), _reasons(devices)))


def _figures(devices: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    for device in devices:
        reverts = ", ".join(one["version"] for one in device["reverts"]) or "–"
        accuracy = "–" if device["accuracy"] is None else f"{device['accuracy']:.1%}"
        p50_ms, p95_ms = _ms(device["p50_ms"]), _ms(device["p95_ms"])
        yield device["id"], device["runtime"], device["version"] or "–", p50_ms, p95_ms, accuracy, reverts


def _reasons(devices: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    for device in devices:
        for what, found in (("reverted", device["reverts"]), ("never sent", device["not_sent"])):
            for one in found:
                yield device["id"], one["version"], what, one["reason"]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(column, justify="right" if column in ("p50 ms", "p95 ms", "accuracy") else "left")
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
