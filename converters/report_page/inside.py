"""The sections of what happens inside of the network: errors by layer, costs, joins, classes, remedies."""

import math
from collections.abc import Iterator

from wherry.converters.report import Confusion, LayerError, RemedyTried, Report, VariantReport
from wherry.converters.report_page import plots
from wherry.converters.report_page.parts import NONE, WORST_ROWS, Cell, Kind, Plot, Section, Table, table
from wherry.converters.report_page.verdict import least_allowed
from wherry.converters.report_page.words import (
    decibel,
    figure,
    interval,
    listed,
    measure,
    name_cell,
    number_cell,
    percent,
    points,
    seconds,
    shorten,
    shorten_all,
    size,
)

NUMBERED = 5
BARS = 15


def layers(report: Report) -> Iterator[Section]:
    """Where the error arises, for each variant whose layers were compared."""
    told = [variant for variant in report.variants if variant.layers]
    for number, variant in enumerate(told):
        title = "Error by layer" if len(told) == 1 else f"Error by layer of {shorten(variant.name)}"
        yield _layers_of(variant, f"layers-{number}", title)


def _layers_of(variant: VariantReport, anchor: str, title: str) -> Section:
    order = sorted(range(len(variant.layers)), key=lambda index: _badness(variant.layers[index]))
    label = f"Error by layer of {variant.name}"
    drawn = plots.layer_errors(label, [layer.snr_db for layer in variant.layers], order[:NUMBERED])
    shown = [variant.layers[index] for index in order[:WORST_ROWS]]
    names = shorten_all([layer.layer or layer.tensor for layer in shown])
    worst = [f"{rank} {name}" for rank, name in enumerate(names[:NUMBERED], start=1)]
    columns = ("layer", "operator", "SNR", "RMSE", "saturated", "range in float", "range when quantized")
    rows = [_layer_row(f"{rank}  {names[rank - 1]}", layer) for rank, layer in enumerate(shown, start=1)]
    many = f"The {WORST_ROWS} worst of {len(order)} layers" if len(order) > WORST_ROWS else "The worst layers first"
    return Section(
        id=anchor,
        title=title,
        lead=("Each layer against the float model on the same inputs. The numbered layers are the worst.",),
        plots=(Plot(label, drawn, ", ".join(worst), wide=len(order) > 30),),
        tables=table(many, columns, rows),
    )


def _badness(layer: LayerError) -> float:
    return -math.inf if math.isnan(layer.snr_db) else layer.snr_db


def _layer_row(name: str, layer: LayerError) -> tuple[Cell, ...]:
    named = bool(layer.layer) and layer.layer != layer.tensor
    whole = " · ".join([layer.layer, layer.tensor]) if named else layer.tensor
    return (
        Cell(name, "name", title=whole, note=f"tensor {shorten(layer.tensor)}" if named else ""),
        Cell(layer.op),
        number_cell(decibel(layer.snr_db)),
        number_cell(figure(layer.rmse)),
        number_cell(percent(layer.saturated_share)),
        number_cell(_span(layer.float_low, layer.float_high)),
        number_cell(_span(layer.quantized_low, layer.quantized_high)),
    )


def _span(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{low:.3g} to {high:.3g}".replace("-", "−")


def costs(report: Report) -> Section:
    """Which layers the error of the output comes from."""
    order = sorted(report.layer_costs, key=lambda cost: -cost.noise_share)
    if not order:
        return Section(id="costs", title="")
    top, label = order[:BARS], "Share of the output's error that comes from each layer"
    shares = tuple(100 * cost.noise_share for cost in top)
    texts = tuple(percent(cost.noise_share) for cost in top)
    drawn = plots.bars(
        label, [cost.layer or cost.tensor for cost in top], [plots.Bars("", shares, texts)], "% of the error"
    )
    names = shorten_all([cost.layer or cost.tensor for cost in order[:WORST_ROWS]])
    rows = [
        (
            name_cell(cost.layer or cost.tensor, short=name),
            Cell(cost.op),
            number_cell(percent(cost.noise_share)),
            number_cell(f"+{size(cost.extra_bytes)}" if cost.extra_bytes >= 0 else f"−{size(-cost.extra_bytes)}"),
        )
        for cost, name in zip(order, names, strict=False)
    ]
    caption = "Kept in float, a layer takes that error away for that many bytes more"
    return Section(
        id="costs",
        title="What each layer costs",
        plots=(Plot(label, drawn),),
        tables=table(caption, ("layer", "operator", "share of the error", "in float"), rows),
    )


def joins(report: Report) -> Section:
    rows = [
        (name_cell(join.layer or join.tensor), number_cell(f"{join.ratio:.0f} times"), Cell(join.message))
        for join in sorted(report.joins, key=lambda join: -join.ratio)[:WORST_ROWS]
    ]
    caption = "Concatenations whose inputs differ so much in range that one scale cannot serve them all"
    return Section(id="joins", title="Joins", tables=table(caption, ("layer", "ranges differ", "what that does"), rows))


def remedies(report: Report) -> Section:
    """In the order in which they were tried, with what each gained over the best before it."""
    if not report.remedies:
        return Section(id="remedies", title="")
    scored = [(tried, measure(tried.scores)[1]) for tried in report.remedies if tried.scores is not None]
    label = "What each remedy came to, in the order in which they were tried"
    drawn: tuple[Plot, ...] = ()
    if scored:
        rows = [tried.remedy for tried, _ in scored]
        held = [tried.held for tried, _ in scored]
        svg = plots.steps(label, rows, [value for _, value in scored], held, least_allowed(report))
        drawn = (Plot(label, svg),)
    columns = ("remedy", "came to", "gained", "budget", "took", "layers kept in float")
    return Section(
        id="remedies",
        title="Remedies tried",
        lead=("Quantizing alone missed the budget, so these were tried, the cheapest first.",),
        plots=drawn,
        tables=table("Remedies in the order in which they were tried", columns, list(_remedy_rows(report.remedies))),
    )


def _remedy_rows(tried: tuple[RemedyTried, ...]) -> Iterator[tuple[Cell, ...]]:
    best: float | None = None
    for entry in tried:
        value = measure(entry.scores)[1] if entry.scores is not None else None
        gained = points(value.share - best) if value is not None and best is not None else NONE
        kept = [shorten(name) for name in entry.kept_float]
        yield (
            Cell(entry.remedy, note=entry.detail),
            number_cell(interval(value)),
            number_cell(gained),
            Cell("holds", "good") if entry.held else Cell("missed", "bad"),
            number_cell(seconds(entry.took_s)),
            Cell(listed(kept[:8]) if len(kept) <= 8 else f"{', '.join(kept[:8])} and {len(kept) - 8} more")
            if kept
            else Cell(NONE),
        )
        best = value.share if value is not None and (best is None or value.share > best) else best


def confusions(report: Report) -> Section:
    """Of each variant, what it mistakes more or less often than float."""
    float_one = next((entry for entry in report.confusions if entry.who == "float"), None)
    drawn: list[Plot] = []
    tables: list[Table] = []
    for entry in report.confusions:
        if float_one is None or entry is float_one or len(entry.counts) != len(float_one.counts):
            continue
        cells = list(_differences(float_one, entry))
        if not cells:
            continue
        names = _class_names(report, len(entry.counts))
        label = f"Confusions of {entry.who} minus those of float"
        drawn.append(
            Plot(label, plots.differences(label, cells, names), f"{shorten(entry.who)} minus float, in samples")
        )
        rows = [_confusion_row(cell, names, float_one) for cell in sorted(cells, key=lambda cell: -abs(cell[2]))]
        columns = ("labelled", "predicted", "float", shorten(entry.who), "difference")
        tables += table(f"{shorten(entry.who)}: largest differences first", columns, rows[:WORST_ROWS])
    return Section(id="confusions", title="Changed predictions", plots=tuple(drawn), tables=tuple(tables))


def _differences(before: Confusion, after: Confusion) -> Iterator[tuple[int, int, int]]:
    for row, (old, new) in enumerate(zip(before.counts, after.counts, strict=True)):
        for column, (was, now) in enumerate(zip(old, new, strict=False)):
            if now != was:
                yield row, column, now - was


def _confusion_row(cell: tuple[int, int, int], names: list[str], before: Confusion) -> tuple[Cell, ...]:
    row, column, difference = cell
    was = before.counts[row][column]
    kind: Kind = "good" if (difference > 0) == (row == column) else "bad"
    return (
        name_cell(names[row]),
        name_cell(names[column]),
        number_cell(str(was)),
        number_cell(str(was + difference)),
        Cell(f"{difference:+d}".replace("-", "−"), kind, note="right" if row == column else "wrong"),
    )


def _class_names(report: Report, classes: int) -> list[str]:
    return list(report.labels) if len(report.labels) == classes else [str(n) for n in range(classes)]
