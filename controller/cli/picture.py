"""A rollout as a person sees it: a bar a wave and one for all, the counts, the gates, and the devices that matter.

Where there are more devices than a person reads, those are listed that failed. The gates stand above them, since
a terminal that is too low cuts off the end.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from wherry.controller.cli import show
from wherry.controller.core.standing import FAILED, PENDING

MAX_ROWS = 30
"""A person reads no more, and few terminals are higher."""

BAR_COLUMNS = 24


def picture(rollout: dict[str, Any], headline: str) -> Any:
    """For printing on `show.console`."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(show.plain(headline)), Text()]
    if rollout["devices"]:
        parts.append(_bars(rollout["devices"]))
    if rollout["gates"]:
        gates = [(gate["gate"], gate["verdict"], gate["reason"]) for gate in rollout["gates"]]
        parts.append(show.make_table(("gate", "verdict", "because"), gates))
    parts += _listed(rollout["devices"])
    return Group(*parts)


def tally(devices: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many stand where, with those from which the version was taken back told apart."""
    told: dict[str, int] = {}
    for device in devices:
        standing = _standing(device)
        told[standing] = told.get(standing, 0) + 1
    return told


def settled(devices: Iterable[dict[str, Any]]) -> int:
    """How many have ended, well or not."""
    return sum(device["standing"] not in PENDING for device in devices)


def rows_of(devices: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The devices to list, and what is to be said of those that are not."""
    if len(devices) <= MAX_ROWS:
        return list(devices), ""
    failed = [device for device in devices if device["standing"] in FAILED]
    if not failed:
        return [], f"{len(devices)} devices, none of which failed; all of them: --json"
    which = f"the first {MAX_ROWS} of {len(failed)}" if len(failed) > MAX_ROWS else f"the {len(failed)}"
    return failed[:MAX_ROWS], f"{which} that failed, of {len(devices)} devices; all of them: --json"


def _bars(devices: Sequence[dict[str, Any]]) -> Any:
    """Devices set apart before the first wave are counted, and have no bar: they were never to get it."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(width=BAR_COLUMNS)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()
    planned = [device for device in devices if device["wave"]]
    for wave in sorted({device["wave"] for device in planned}):
        grid.add_row(*_bar(f"wave {wave}", [device for device in planned if device["wave"] == wave]))
    grid.add_row(*_bar("all", planned))
    apart = [device for device in devices if not device["wave"]]
    if apart:
        grid.add_row("set apart", "", str(len(apart)), _counts(apart))
    return grid


def _bar(name: str, devices: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    from rich.progress_bar import ProgressBar

    ended, total = settled(devices), len(devices)
    colour = "red" if any(device["standing"] in FAILED for device in devices) else "green"
    bar = ProgressBar(
        total=max(total, 1), completed=ended, width=BAR_COLUMNS, complete_style=colour, finished_style=colour
    )
    return name, bar, f"{ended}/{total}", _counts(devices)


def _counts(devices: Iterable[dict[str, Any]]) -> Any:
    from rich.text import Text

    parts = [
        Text(f"{count} {name}", style=show.COLOURS.get(name, "")) for name, count in sorted(tally(devices).items())
    ]
    return Text(", ").join(parts)


def _listed(devices: Sequence[dict[str, Any]]) -> list[Any]:
    from rich.text import Text

    rows, said = rows_of(devices)
    parts: list[Any] = [Text(said)] if said else []
    if rows:
        columns = ("wave", "device", "standing", "variant", "before", "reason")
        parts.append(show.make_table(columns, [_row(device) for device in rows]))
    return parts


def _row(device: dict[str, Any]) -> tuple[object, ...]:
    wave, variant, before = (device[name] or "–" for name in ("wave", "variant", "previous"))
    return wave, device["device"], _standing(device), variant, before, device["reason"]


def _standing(device: dict[str, Any]) -> str:
    return "taken back" if device["restored"] else str(device["standing"])
