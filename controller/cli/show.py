"""What commands print: JSON for programs, tables and lines for people."""

import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import typer

COLOURS = dict.fromkeys(("ok", "committed", "completed", "online", "succeeded"), "green")
COLOURS |= dict.fromkeys(
    ("breach", "rejected", "reverted", "silent", "taken back", "held", "lost", "safe-mode", "failed"), "red"
)
COLOURS |= dict.fromkeys(
    ("wait", "in-progress", "paused", "reverting", "offline", "aborted", "queued", "running", "cancelled"), "yellow"
)


def as_json(value: object) -> None:
    """One JSON document, indented."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def as_json_line(value: object) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table that fits the terminal; `empty` is said where there are no rows."""
    filled = list(rows)
    if filled:
        console().print(make_table(columns, filled))
    else:
        typer.echo(empty)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Any:
    """For printing on `console`; cells are taken as they are, not as markup, and verdicts get a colour."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*[Text(plain(str(cell)), style=COLOURS.get(str(cell), "")) for cell in row])
    return shown


def console() -> Any:
    """Standard output; 100 columns where it is not a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


def age(at_s: float | None) -> str:
    """How long ago, as `12 s`, `5 min`, `3 h` or `2 d`."""
    if at_s is None:
        return "–"
    past_s = max(time.time() - at_s, 0)
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if past_s >= 2 * length_s:
            return f"{past_s / length_s:.0f} {unit}"
    return f"{past_s:.0f} s"


def plain(text: str) -> str:
    """Text of a device or a peer, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in text)


def moment(at_s: float) -> str:
    """A device's clock in the operator's time zone; a board may say any number."""
    try:
        return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"{at_s:.3g} s"


def say(text: str) -> None:
    """One line for a person, which may hold what a device said."""
    typer.echo(plain(text))


def short(text: str) -> str:
    """Enough to recognise it by."""
    return textwrap.shorten(text, 60, placeholder=" …")


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f} %"


def size(size_bytes: int) -> str:
    return f"{size_bytes / 1024:.1f} KiB" if size_bytes < 1024 * 1024 else f"{size_bytes / 1024 / 1024:.1f} MiB"


def ref(version: dict[str, Any] | None) -> str:
    """A version reference as `digits:3 (int8)`."""
    return "–" if version is None else f"{version['model']}:{version['version']} ({version['variant']})"


def plan_of(rollout: dict[str, Any]) -> str:
    """The version that a rollout brings, as `digits:3`."""
    return f"{rollout['plan']['model']}:{rollout['plan']['version']}"


def counts(by_standing: dict[str, int]) -> str:
    """`3 committed, 1 reverted`."""
    return ", ".join(f"{count} {standing}" for standing, count in sorted(by_standing.items())) or "no devices"
