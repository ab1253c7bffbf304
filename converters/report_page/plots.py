"""The plots of the report: values in, an SVG element out. What they say in words is the caller's.

Each draws at most `MAX_POINTS` marks, keeping the ones that matter, so that a page stays small.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherry.converters.report import InputRange, Interval
from wherry.converters.report_page.svg import (
    BLUE,
    GRID,
    INK,
    MARKERS,
    MUTED,
    ORANGE,
    PAPER,
    RED,
    SERIES,
    WIDE_IN,
    WIDTH_IN,
    draw,
)
from wherry.converters.report_page.words import shorten_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 300
ROW_IN = 0.3


@dataclass(frozen=True)
class Bars:
    """A series of horizontal bars, one a row, with a text behind it; None leaves the row empty."""

    name: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]


def bars(label: str, rows: Sequence[str], series: Sequence[Bars], unit: str) -> str:
    """The first row on top. A logarithmic axis where lengths could not be compared otherwise."""
    values = [value for entry in series for value in entry.values if value is not None]
    texts = [text for entry in series for text in entry.texts]
    logarithmic = min(values) > 0 and max(values) > 30 * min(values)
    thick = 0.8 / len(series)
    start = min(values) / 2 if logarithmic else 0.0

    def paint(figure: "Figure", axes: "Axes") -> None:
        _rows(axes, rows)
        for index, entry in enumerate(series):
            shift = (index - (len(series) - 1) / 2) * thick
            for row, value in enumerate(entry.values):
                if value is not None:
                    _bar(axes, row + shift, start, thick, entry, row, SERIES[index % len(SERIES)])
        axes.set_xlabel(f"{unit}, logarithmic" if logarithmic else unit)
        _scale(axes, min(values), max(values), room=max(map(len, texts)), logarithmic=logarithmic)
        if len(series) > 1:
            _legend_of(figure, [(entry.name, SERIES[i % len(SERIES)], "s") for i, entry in enumerate(series)])

    lines = len(rows) * max(1.0, 0.62 * len(series))
    return draw(label, 0.9 + ROW_IN * lines + (0.3 if len(series) > 1 else 0), paint)


def _scale(axes: "Axes", least: float, most: float, *, room: int, logarithmic: bool) -> None:
    """With room at the right for `room` letters behind the longest bar."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(
            least / 2, (2 * most / least) ** (1 / (1 - room / 55)) * least / 2
        )  # bars begin at the edge, as nothing is at 0
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, most / (1 - room / 55) or 1)
        axes.locator_params(axis="x", nbins=5)


def _bar(axes: "Axes", at: float, start: float, thick: float, entry: Bars, row: int, colour: str) -> None:
    value = entry.values[row]
    assert value is not None
    _block(axes, start, at - thick * 0.46, value - start, thick * 0.92, color=colour, linewidth=0)
    axes.annotate(entry.texts[row], (value, at), (4, 0), textcoords="offset points", va="center", fontsize=8)


@dataclass(frozen=True)
class Intervals:
    """A series of shares with their intervals, one a row."""

    name: str
    values: tuple[Interval | None, ...]


def intervals(
    label: str, rows: Sequence[str], series: Sequence[Intervals], unit: str, *, limit: float | None = None
) -> str:
    """Points with whiskers; `limit` is the least that the budget allows."""

    def paint(figure: "Figure", axes: "Axes") -> None:
        _rows(axes, rows)
        for row in range(len(rows)):
            there = [index for index, entry in enumerate(series) if entry.values[row] is not None]
            for place, index in enumerate(there):
                at = row + (place - (len(there) - 1) / 2) * 0.3
                _whisker(
                    axes, series[index].values[row], at, SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
                )
        keys = [(entry.name, SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i, entry in enumerate(series)]
        if limit is not None:
            axes.axvline(limit * 100, color=RED, linestyle="--", linewidth=1.2)
            keys.append(("least allowed", RED, "--"))
        axes.set_xlabel(unit)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=6)
        axes.margins(x=0.08)
        _legend_of(figure, keys)

    return draw(label, 1.15 + (ROW_IN + 0.06 * len(series)) * len(rows), paint)


def _whisker(axes: "Axes", value: Interval | None, at: float, colour: str, marker: str) -> None:
    assert value is not None
    low, share, high = (100 * part for part in (value.low, value.share, value.high))
    around = [[max(share - low, 0)], [max(high - share, 0)]]
    axes.errorbar([share], [at], xerr=around, fmt=marker, color=colour, markersize=6, capsize=3)


def layer_errors(label: str, snrs_db: Sequence[float], ranked: Sequence[int]) -> str:
    """SNR by layer in the order of the graph. `ranked` are the worst layers, numbered from 1 in the plot."""
    finite = [(index, snr_db) for index, snr_db in enumerate(snrs_db) if math.isfinite(snr_db)]
    kept = _thinned(finite)

    def paint(_figure: "Figure", axes: "Axes") -> None:
        axes.plot([x for x, _ in kept], [y for _, y in kept], color=GRID, zorder=1)
        axes.plot([x for x, _ in kept], [y for _, y in kept], "o", color=BLUE, markersize=3.2, zorder=2)
        for rank, index in enumerate(ranked, start=1):
            if math.isfinite(snrs_db[index]):
                axes.plot([index], [snrs_db[index]], "o", color=RED, markersize=11, zorder=3)
                axes.annotate(
                    str(rank), (index, snrs_db[index]), ha="center", va="center_baseline", fontsize=7.5, color=PAPER,
                    fontweight="bold", zorder=4,
                )  # fmt: skip
        axes.set_xlabel("layer, in the order of the graph")
        axes.set_ylabel("SNR in dB, higher is better")
        axes.grid(axis="y")
        axes.margins(y=0.15)
        axes.locator_params(axis="x", integer=True)

    return draw(label, 2.9, paint, width_in=WIDE_IN if len(snrs_db) > 30 else WIDTH_IN)


def _thinned(marks: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The worst half of what may be drawn, and the rest evenly spread."""
    if len(marks) <= MAX_POINTS:
        return marks
    worst = sorted(marks, key=lambda mark: mark[1])[: MAX_POINTS // 2]
    step = -(-len(marks) // (MAX_POINTS // 2))
    return sorted({*worst, *marks[::step]})[:MAX_POINTS]


def histograms(label: str, sets: Sequence[tuple[str, InputRange]]) -> str:
    """Each set against its own commonest bin, so that a narrow one cannot hide a wide one."""

    def paint(figure: "Figure", axes: "Axes") -> None:
        keys = []
        for index, (name, found) in enumerate(sets):
            colour, line = (BLUE, ORANGE)[index % 2], ("-", "--")[index % 2]
            heights, edges = _density(found)
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(heights, edges, color=colour, linewidth=1.6, linestyle=line)
            keys.append((name, colour, line))
        axes.set_xlabel("value")
        axes.set_ylabel("how common")
        axes.set_yticks([])
        axes.set_ylim(0, 1.08)
        axes.locator_params(axis="x", nbins=6)
        _legend_of(figure, keys)

    return draw(label, 2.3, paint)


def _density(found: InputRange) -> tuple[list[float], list[float]]:
    """At most 64 bins; a set of one value is a narrow bar."""
    counts = list(found.histogram)
    fold = -(-len(counts) // 64)
    counts = [sum(counts[start : start + fold]) for start in range(0, len(counts), fold)]
    width = (found.high - found.low) / len(counts)
    if width <= 0:
        around = max(abs(found.low), 1.0) * 0.005
        return [1.0], [found.low - around, found.low + around]
    most = max(max(counts), 1)
    return [count / most for count in counts], [found.low + width * index for index in range(len(counts) + 1)]


def steps(label: str, rows: Sequence[str], values: Sequence[Interval], held: Sequence[bool], limit: float) -> str:
    """What each remedy came to, in the order in which they were tried; a filled mark held the budget."""

    def paint(figure: "Figure", axes: "Axes") -> None:
        _rows(axes, rows)
        axes.plot([100 * value.share for value in values], range(len(values)), color=MUTED, linewidth=1, zorder=1)
        for row, (value, holds) in enumerate(zip(values, held, strict=True)):
            marker, colour = ("o", BLUE) if holds else ("X", ORANGE)
            _whisker(axes, value, row, colour, marker)
        axes.axvline(limit * 100, color=RED, linestyle="--", linewidth=1.2)
        axes.set_xlabel("%")
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=6)
        keys = [("holds the budget", BLUE, "o"), ("misses it", ORANGE, "X"), ("least allowed", RED, "--")]
        _legend_of(figure, keys)

    return draw(label, 1.15 + 0.34 * len(rows), paint)


def differences(label: str, cells: Sequence[tuple[int, int, int]], names: Sequence[str]) -> str:
    """A heat map of (labelled class, predicted class, difference); deeper is more. Zeros are not given."""
    most = max(abs(difference) for _, _, difference in cells)
    kept = sorted(cells, key=lambda cell: -abs(cell[2]))[:MAX_POINTS]

    def paint(figure: "Figure", axes: "Axes") -> None:
        for row, column, difference in kept:
            shade = 0.25 + 0.75 * abs(difference) / most
            colour = BLUE if difference > 0 else RED
            _block(axes, column - 0.5, row - 0.5, 1, 1, color=colour, alpha=shade, linewidth=0)
            if len(names) <= 12:
                text, ink = f"{difference:+d}".replace("-", "−"), PAPER if shade > 0.85 else INK
                axes.annotate(text, (column, row), ha="center", va="center", fontsize=8, color=ink)
        _square(axes, names)
        _legend_of(figure, [("more often than float", BLUE, "s"), ("less often", RED, "s")])

    return draw(label, 4.6, paint)


def _square(axes: "Axes", names: Sequence[str]) -> None:
    many = len(names)
    axes.set_xlim(-0.5, many - 0.5)
    axes.set_ylim(many - 0.5, -0.5)
    axes.set_aspect("equal")
    shown = range(0, many, 1 if many <= 16 else 5)
    short = shorten_all(names, 14)
    axes.set_xticks(list(shown), [short[index] for index in shown], rotation=90 if many > 4 else 0)
    axes.set_yticks(list(shown), [short[index] for index in shown])
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    for index in range(many):
        _block(axes, index - 0.5, index - 0.5, 1, 1, fill=False, edgecolor=MUTED, linewidth=0.5)


def _block(axes: "Axes", left: float, top: float, width: float, height: float, **style: Any) -> None:
    """A rectangle, which matplotlib draws much faster than a bar."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((left, top), width, height, **style))


def _rows(axes: "Axes", rows: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), shorten_all(rows, 26))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _legend_of(figure: "Figure", keys: Sequence[tuple[str, str, str]]) -> None:
    """Names with their marks or lines, below the axes; the plotted things carry no names themselves."""
    from matplotlib.lines import Line2D

    handles = []
    for name, colour, mark in keys:
        style: dict[str, Any] = {"linestyle": mark} if mark in ("-", "--") else {"linestyle": "none", "marker": mark}
        handles.append(Line2D([], [], color=colour, label=name, **style))
    longest = max(len(name) for name, _, _ in keys)
    figure.legend(handles=handles, loc="outside lower center", ncols=1 if longest > 28 else 2 if longest > 16 else 3)
