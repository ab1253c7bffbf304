"""The sections of what was measured: the variants, their accuracy, size and latency in each runtime."""

from wherry.converters.report import FamilyResult, Interval, Report, Scores, VariantReport
from wherry.converters.report_page import plots
from wherry.converters.report_page.parts import NONE, Cell, Plot, Section, Table, table
from wherry.converters.report_page.verdict import least_allowed, lowest_scores, speed
from wherry.converters.report_page.words import (
    count,
    decibel,
    figure,
    interval,
    measure,
    measured,
    milliseconds,
    name_cell,
    number_cell,
    percent,
    shorten,
    size,
)

Family = tuple[str, str]


def variants(report: Report) -> Section:
    """One row each, float first: what it costs, what it brings, and where it runs."""
    families = _families(report)
    columns = ("variant", "verdict", "size", _measure_name(report), *(f"{family} {v}" for family, v in families))
    rows = [_float_row(report, families)] if report.float_model is not None else []
    rows += [_variant_row(variant, report, families) for variant in report.variants]
    return Section(
        id="variants",
        title="Variants",
        tables=table("Each variant against float: size, what it still gets right, and p50 by runtime", columns, rows),
        remarks=tuple(speed(report)),
    )


def accuracy(report: Report) -> Section:
    name = _measure_name(report)
    scored = [entry for entry in report.variants if any(run.scores is not None for run in entry.runtimes)]
    if not scored:
        return Section(id="accuracy", title="")
    rows, series = [shorten(entry.name) for entry in scored], []
    for family in _families(report):
        found = [_scores(entry.runtimes, family) for entry in scored]
        values: list[Interval | None] = [None if entry is None else measure(entry)[1] for entry in found]
        series.append(plots.Intervals(_say(family), tuple(values)))
    before = next((s.float_accuracy for entry in scored for run in entry.runtimes if (s := run.scores)), None)
    if before is not None:
        rows, series = ["float", *rows], [plots.Intervals(s.name, (None, *s.values)) for s in series]
        series.append(plots.Intervals("float", (before, *(None for _ in scored))))
    label = f"{name.capitalize()} of each variant in each runtime, with 95 % intervals"
    drawn = plots.intervals(label, rows, series, f"{name}, %", limit=least_allowed(report))
    return Section(
        id="accuracy",
        title=name.capitalize(),
        plots=(
            Plot(label, drawn, "Whiskers are 95 % intervals (Wilson). No variant may lie left of the broken line."),
        ),
        tables=_score_table(report),
    )


def cost(report: Report) -> Section:
    """Size and latency, which the smaller variants are made for."""
    sizes = [("float", report.sizes.float_bytes), *((v.name, v.artifact_bytes) for v in report.variants)]
    sizes = [(name, size_bytes) for name, size_bytes in sizes if size_bytes]
    drawn: list[Plot] = []
    if len(sizes) > 1:
        label = "Size of each variant"
        unit, unit_bytes = ("MiB", 2**20) if max(n for _, n in sizes) >= 2**20 else ("KiB", 2**10)
        series = plots.Bars("size", tuple(n / unit_bytes for _, n in sizes), tuple(size(n) for _, n in sizes))
        drawn.append(Plot(label, plots.bars(label, [name for name, _ in sizes], [series], unit)))
    drawn += _latency(report)
    return Section(id="cost", title="Size and latency", plots=tuple(drawn), tables=_cost_tables(report))


def _latency(report: Report) -> list[Plot]:
    runs: list[tuple[str, tuple[FamilyResult, ...]]] = [(entry.name, entry.runtimes) for entry in report.variants]
    if report.float_model is not None:
        runs.insert(0, ("float", report.float_model.runtimes))
    runs = [(name, found) for name, found in runs if any(run.p50_ms for run in found)]
    series = []
    for family in _families(report):
        found = [_run(entry, family) for _, entry in runs]
        p50s = tuple((run.p50_ms or None) if run is not None else None for run in found)
        texts = tuple(_latency_text(run) for run in found)
        if any(p50s):
            series.append(plots.Bars(_say(family), p50s, texts))
    if not series:
        return []
    label = "Latency of each variant by runtime"
    drawn = plots.bars(label, [name for name, _ in runs], series, "ms")
    return [Plot(label, drawn, "Bars are p50. Measured on the machine that converted, not on a board.")]


def _latency_text(run: FamilyResult | None) -> str:
    if run is None or not run.p50_ms:
        return ""
    return milliseconds(run.p50_ms) + (f", p95 {milliseconds(run.p95_ms)}" if run.p95_ms else "")


def _float_row(report: Report, families: list[Family]) -> tuple[Cell, ...]:
    assert report.float_model is not None
    scores = next((run.scores for v in report.variants for run in v.runtimes if run.scores is not None), None)
    before = interval(scores.float_accuracy) if scores is not None and scores.float_accuracy is not None else NONE
    runs = [_run_cell(_run(report.float_model.runtimes, family), floors=False) for family in families]
    first = Cell("float", note="for comparison")
    return (first, Cell(NONE), number_cell(size(report.float_model.artifact_bytes)), number_cell(before), *runs)


def _variant_row(variant: VariantReport, report: Report, families: list[Family]) -> tuple[Cell, ...]:
    scores = lowest_scores(variant)
    share = variant.artifact_bytes / report.sizes.float_bytes if report.sizes.float_bytes else 0.0
    said = variant.remark if variant.accepted else _reason(variant)
    verdict = Cell("accepted" if variant.accepted else "left out", "good" if variant.accepted else "bad", note=said)
    smaller = (
        number_cell(size(variant.artifact_bytes), f"{percent(share, 0)} of float")
        if variant.artifact_bytes
        else Cell(NONE)
    )
    right = number_cell(measured(scores) if scores is not None else NONE)
    runs = [_run_cell(_run(variant.runtimes, family), floors=True) for family in families]
    return (name_cell(variant.name), verdict, smaller, right, *runs)


def _reason(variant: VariantReport) -> str:
    """Nothing where the runtimes' own cells say it already."""
    failed = [run.reason for run in variant.runtimes if not run.ok and run.reason]
    return "" if failed and all(reason in variant.reason for reason in failed) else variant.reason


def _run_cell(run: FamilyResult | None, *, floors: bool) -> Cell:
    """p50, how much XNNPACK took, and the lowest version; or why the runtime is left out."""
    if run is None:
        return Cell(NONE)
    if not run.ok and not run.p50_ms:
        return Cell("left out", "bad", note=run.reason)
    notes = [] if run.ok else [f"left out: {run.reason}"]
    if run.delegated_ops is not None and run.all_ops is not None:
        notes.append(f"XNNPACK {run.delegated_ops} of {run.all_ops} ops")
    if floors and run.ok and run.floor is not None:
        notes.append(f"runs from {run.floor.lowest}")
    return number_cell(milliseconds(run.p50_ms), "; ".join(notes))


def _score_table(report: Report) -> tuple[Table, ...]:
    columns = ("variant", "runtime", "samples", "accuracy", "agreement", "cosine, lowest", "SNR", "McNemar")
    rows = [
        (name_cell(variant.name), number_cell(f"{run.family} {run.version}"), *_score_cells(run.scores))
        for variant in report.variants
        for run in variant.runtimes
        if run.scores is not None
    ]
    caption = "Every variant in every runtime, against float on the same samples"
    if any(run.scores is not None and run.scores.mcnemar for v in report.variants for run in v.runtimes):
        caption += "; McNemar's test of those that only float has right (lost) and only the variant (won)"
    return table(caption, columns, rows)


def _score_cells(scores: Scores) -> tuple[Cell, ...]:
    test = scores.mcnemar
    agreed = interval(scores.agreement_interval) if scores.agreement_interval else percent(scores.agreement)
    return (
        number_cell(count(scores.samples)),
        number_cell(interval(scores.accuracy)),
        number_cell(agreed),
        number_cell(f"{scores.min_cosine:.4f}", f"mean {scores.mean_cosine:.4f}"),
        number_cell(decibel(scores.snr_db)),
        number_cell(
            NONE if test is None else f"p = {test.p_value:.2g}", "" if test is None else _test(test.lost, test.won)
        ),
    )


def _test(lost: int, won: int) -> str:
    return f"{lost} lost, {won} won"


def _cost_tables(report: Report) -> tuple[Table, ...]:
    told = [
        (
            name_cell(variant.name),
            number_cell(size(variant.artifact_bytes)),
            number_cell(size(variant.golden_bytes) if variant.golden_bytes else NONE),
            number_cell(count(variant.parameters)),
            number_cell(count(variant.macs)),
            number_cell(size(variant.arena_bytes) if variant.arena_bytes else NONE, variant.arena_how),
        )
        for variant in report.variants
    ]
    ran = [_run_row(variant, run) for variant in report.variants for run in variant.runtimes if run.ok or run.p50_ms]
    columns = ("variant", "file", "golden vectors", "parameters", "multiply-accumulates", "arena")
    return table("What a device keeps and computes", columns, told) + table(
        "What each runtime takes", ("variant", "runtime", "load", "p50", "p95", "kernels differ by", "tolerance"), ran
    )


def _run_row(variant: VariantReport, run: FamilyResult) -> tuple[Cell, ...]:
    return (
        name_cell(variant.name),
        number_cell(f"{run.family} {run.version}"),
        number_cell(milliseconds(run.load_ms)),
        number_cell(milliseconds(run.p50_ms)),
        number_cell(milliseconds(run.p95_ms)),
        number_cell(NONE if run.spread is None else figure(run.spread.max_abs)),
        number_cell(NONE if run.tolerance is None else figure(run.tolerance.max_abs)),
    )


def _families(report: Report) -> list[Family]:
    """In the order in which they occur."""
    runs = [run for variant in report.variants for run in variant.runtimes]
    runs += report.float_model.runtimes if report.float_model is not None else ()
    return list(dict.fromkeys((run.family, shorten(run.version, 20)) for run in runs))


def _say(family: Family) -> str:
    return " ".join(family)


def _run(runs: tuple[FamilyResult, ...], family: Family) -> FamilyResult | None:
    return next((run for run in runs if (run.family, shorten(run.version, 20)) == family), None)


def _scores(runs: tuple[FamilyResult, ...], family: Family) -> Scores | None:
    run = _run(runs, family)
    return None if run is None else run.scores


def _measure_name(report: Report) -> str:
    found = (run.scores for variant in report.variants for run in variant.runtimes if run.scores is not None)
    return next((measure(scores)[0] for scores in found), "agreement")
