"""Plain text for a terminal of any kind: aligned columns, no colours, and nothing that a terminal obeys."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

UNKNOWN = "-"


def say(text: str = "") -> None:
    """One line on standard output."""
    sys.stdout.write("".join(letter if letter.isprintable() else "?" for letter in text) + "\n")


def complain(text: str) -> None:
    """One line on standard error, with the program's name."""
    sys.stderr.write(f"wherry-agent: {text}\n")


def as_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def table(rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as what is in them, two spaces between; the last one may be of any length."""
    filled = [tuple(row) for row in rows]
    widths = [max(len(row[column]) for row in filled) for column in range(len(filled[0]))] if filled else []
    for row in filled:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())


def pairs(entries: Iterable[tuple[str, str]], indent: str = "") -> None:
    """`name  value`, values aligned; those without a value are left out."""
    table([(indent + name, value) for name, value in entries if value])


def moment(at_s: float | None) -> str:
    """In the board's own time zone."""
    if at_s is None:
        return UNKNOWN
    try:
        return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"{at_s:.0f} s"


def mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.1f} MiB"
