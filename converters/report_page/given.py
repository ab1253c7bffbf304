"""The sections of what was given and used: data and its faults, parity, operators, recipe, tools, time."""

from collections.abc import Iterator
from typing import Any

import msgspec

from wherry.converters.report import DataUsed, InputRange, Report
from wherry.converters.report_page import plots
from wherry.converters.report_page.parts import NONE, WORST_ROWS, Cell, Fault, Plot, Section, table
from wherry.converters.report_page.words import (
    count,
    decibel,
    figure,
    name_cell,
    number_cell,
    percent,
    seconds,
    shorten,
)

MAX_INPUTS = 8


def faults(report: Report) -> Section:
    """Before everything else: whatever these say may be the cause of all that follows."""
    found = tuple(Fault(entry.kind, entry.message, entry.fix) for entry in report.warnings)
    return Section(id="warnings", title="Warnings about the data", faults=found)


def data(report: Report) -> Section:
    used = [("calibration", report.calibration)]
    if report.evaluation is not None:
        used.append(("evaluation", report.evaluation))
    lead = tuple(
        f"{name.capitalize()}: {count(entry.used)} of {count(entry.given)} samples of {entry.where},"
        f" {'labelled' if entry.labelled else 'without labels'}."
        for name, entry in used
    )
    columns = ("input", "set", "lowest", "highest", "mean", "standard deviation")
    rows = [_range_row(name, found) for found_in in _inputs(report) for name, found in _ranges(used, found_in)]
    return Section(
        id="data",
        title="Data",
        lead=lead,
        plots=tuple(_histograms(report, used)),
        tables=table("Values of each input, as the network sees them", columns, rows[: 2 * WORST_ROWS]),
    )


def _histograms(report: Report, used: list[tuple[str, DataUsed]]) -> Iterator[Plot]:
    for name in _inputs(report)[:MAX_INPUTS]:
        sets = [(which, found) for which, found in _ranges(used, name) if found.histogram]
        if sets:
            label = f"Values of the input {name} in calibration and evaluation"
            yield Plot(
                label, plots.histograms(label, sets), f"Input {shorten(name)}; each set against its commonest value"
            )


def _inputs(report: Report) -> list[str]:
    used = [report.calibration] if report.evaluation is None else [report.calibration, report.evaluation]
    return list(dict.fromkeys(found.input for entry in used for found in entry.ranges))


def _ranges(used: list[tuple[str, DataUsed]], name: str) -> list[tuple[str, InputRange]]:
    return [(which, found) for which, entry in used for found in entry.ranges if found.input == name]


def _range_row(which: str, found: InputRange) -> tuple[Cell, ...]:
    figures = (found.low, found.high, found.mean, found.std)
    return (name_cell(found.input), Cell(which), *(number_cell(figure(value).replace("-", "−")) for value in figures))


def parity(report: Report) -> Section:
    columns = ("output", "samples", "SNR", "same top class")
    rows = [
        (
            name_cell(entry.output),
            number_cell(count(entry.samples)),
            number_cell(decibel(entry.snr_db)),
            number_cell(percent(entry.top1_share, 2)),
        )
        for entry in report.parity[:WORST_ROWS]
    ]
    caption = "The float TFLite file against the source, on real inputs"
    return Section(id="parity", title="Parity with the source", tables=table(caption, columns, rows))


def operators(report: Report) -> Section:
    """A column a variant, as versions are what decides on the lowest runtime."""
    told = [variant for variant in report.variants if variant.operators]
    names = sorted({entry.name for variant in told for entry in variant.operators})
    rows = []
    for name in names[: 2 * WORST_ROWS]:
        cells = []
        for variant in told:
            found = [entry for entry in variant.operators if entry.name == name]
            cells.append(Cell(", ".join(f"version {entry.version} × {entry.count}" for entry in found) or NONE))
        rows.append((Cell(name), *cells))
    columns = ("operator", *(shorten(variant.name) for variant in told))
    caption = "Versions derived from the tensors, and how often each occurs"
    return Section(id="operators", title="Operators", tables=table(caption, columns, rows))


def recipe(report: Report) -> Section:
    return Section(id="recipe", title="Recipe", quoted=tuple(_toml(report.recipe, "")))


def _toml(found: msgspec.Struct, heading: str) -> Iterator[str]:
    """All settings, those left at their default too; plain values first, as TOML wants it. None has no line."""
    fields = [(field, getattr(found, field.name)) for field in msgspec.structs.fields(found)]
    if heading:
        yield from ("", f"[{heading}]")
    for field, value in fields:
        if not isinstance(value, msgspec.Struct) and value is not None:
            default = "   # default" if value == field.default else ""
            yield f"{field.name} = {_value(value)}{default}"
    for field, value in fields:
        if isinstance(value, msgspec.Struct):
            yield from _toml(value, f"{heading}.{field.name}" if heading else field.name)


def _value(value: Any) -> str:
    """Strings, numbers, booleans and lists are written in TOML as in JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def making(report: Report) -> Section:
    """Where the version comes from, with what it was made, and how long that took."""
    rows = [(Cell("source"), name_cell(report.source, 60)), (Cell("framework"), Cell(report.framework))]
    rows.append((Cell("SHA-256 of the source"), name_cell(report.source_digest, 64)))
    digests = [(variant.name, variant.digest) for variant in report.variants if variant.digest is not None]
    rows += [(Cell(f"SHA-256 of {shorten(name)}"), name_cell(digest, 64)) for name, digest in digests]
    rows += [(name_cell(name), Cell(version)) for name, version in sorted(report.tools.items())]
    return Section(
        id="making",
        title="Where it comes from",
        tables=table("Source and tools", ("what", "which"), rows)
        + table("Time by step", ("step", "took"), _steps(report)),
    )


def _steps(report: Report) -> list[tuple[Cell, ...]]:
    rows = [(name_cell(name), _took(name, took_s, report)) for name, took_s in report.steps_s.items()]
    total_s = sum(report.steps_s.values())
    return [*rows, (Cell("all"), number_cell(seconds(total_s)))] if rows else []


def _took(name: str, took_s: float, report: Report) -> Cell:
    return number_cell(seconds(took_s), "kept from an earlier run" if name in report.cached else "")
