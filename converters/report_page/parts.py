"""What a page is made of: sections of paragraphs, plots, tables and quoted text. Plain values, no HTML.

Every text in them may come from a stranger's file; the template escapes it. Only `Plot.svg` is markup, and
only `svg.py` makes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["", "number", "name", "good", "bad"]

NONE = "–"

WORST_ROWS = 30
"""A table that is cut shows the worst ones; the JSON report has all."""


@dataclass(frozen=True)
class Cell:
    """`title` has the whole text where `text` is shortened; `note` is said small below."""

    text: str
    kind: Kind = ""
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """The first cell of a row is its heading."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Plot:
    """`label` is the plot's name and what it shows, for who cannot see it; the figures are in a table beside."""

    label: str
    svg: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Fault:
    """A warning with what to do."""

    title: str
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    lead: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    quoted: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.lead or self.faults or self.plots or self.tables or self.quoted or self.remarks)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> tuple[Table, ...]:
    """One table, or none where it would have no rows. A column that tells nothing is left out."""
    told = [index for index in range(len(columns)) if index == 0 or any(_tells(row[index]) for row in rows)]
    kept = tuple(tuple(row[index] for index in told) for row in rows)
    return (Table(caption, tuple(columns[index] for index in told), kept),) if rows else ()


def _tells(cell: Cell) -> bool:
    return cell.text not in ("", NONE) or bool(cell.note)
