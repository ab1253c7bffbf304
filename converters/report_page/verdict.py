"""What came of the conversion, in sentences, and why one variant is faster or slower than float.

Every sentence is made from figures of this report; nothing is said of a runtime that did not run here.
"""

from collections.abc import Iterator

from wherry.converters.report import FamilyResult, Report, Scores, VariantReport
from wherry.converters.report_page.words import listed, measure, milliseconds, percent, points, shorten
from wherry.protocol.recipe import Budget

INTEGER = ("int8", "int8-float-io", "mixed")
ALIKE = 0.1
"""Latencies nearer to each other than this share are called alike: one run's noise is of that size."""


def headline(report: Report) -> str:
    accepted = [variant.name for variant in report.variants if variant.accepted]
    if report.outcome == "refused":
        return "Refused: there is no version"
    word = "variant" if len(accepted) == 1 else "variants"
    return f"Accepted, with the {word} {listed([shorten(name) for name in accepted])}" if accepted else "Accepted"


def sentences(report: Report) -> Iterator[str]:
    """Why, and what each accepted variant costs and brings."""
    missed = [entry for entry in report.variants if entry.reason and entry.reason in report.reason]
    if report.outcome == "refused" and missed and all(lowest_scores(entry) is not None for entry in missed):
        yield "No variant holds the budget."
        yield from (_missed(entry, report.recipe.budget) for entry in missed)
    elif report.reason:
        yield _sentence(report.reason)
    for variant in report.variants:
        if variant.accepted:
            yield _of_variant(variant, report)
        elif report.outcome == "accepted":
            yield _sentence(f"{shorten(variant.name)} is left out: {variant.reason or 'no reason is given'}")
    if report.outcome == "refused" and report.layer_costs:
        worst = sorted(report.layer_costs, key=lambda cost: -cost.noise_share)[:3]
        named = [f"{shorten(cost.layer or cost.tensor)} ({percent(cost.noise_share, 0)})" for cost in worst]
        yield f"Most of the error comes from the layers {listed(named)}."


def _sentence(text: str) -> str:
    text = text.strip()
    begun = text[:1].upper() + text[1:] if text.split(" ")[0].isalpha() else text  # `int8` is a name
    return begun + ("" if text.endswith((".", "!", "?")) else ".")


def _missed(variant: VariantReport, budget: Budget) -> str:
    scores = lowest_scores(variant)
    assert scores is not None
    return f"{shorten(variant.name)}: {cost(scores, budget)}."


def _of_variant(variant: VariantReport, report: Report) -> str:
    said = f"{shorten(variant.name)}: "
    scores = lowest_scores(variant)
    if scores is not None:
        said += f"{cost(scores, report.recipe.budget)}; "
    ratio = report.sizes.float_bytes / variant.artifact_bytes if variant.artifact_bytes else 0.0
    if ratio >= 1.05:
        return f"{said}{ratio:.1f} times smaller than float."
    return f"{said}no smaller than float."


def lowest_scores(variant: VariantReport) -> Scores | None:
    """The scores in the admitted runtime where the variant does worst; in any, where none is admitted."""
    admitted = [run for run in variant.runtimes if run.ok] or variant.runtimes
    found = [run.scores for run in admitted if run.scores is not None]
    return min(found, key=lambda scores: measure(scores)[1].share, default=None)


def cost(scores: Scores, budget: Budget) -> str:
    """`accuracy 97.2 % where float has 97.6 % (+0.4 points; 1.0 may be lost)`."""
    name, value = measure(scores)
    if scores.float_accuracy is None or scores.accuracy is None:
        return f"{name} with float {percent(value.share)} ({percent(budget.min_agreement)} is required)"
    change = points(scores.accuracy.share - scores.float_accuracy.share)
    allowed = f"{budget.max_accuracy_loss * 100:.1f} may be lost"
    return f"{name} {percent(value.share)} where float has {percent(scores.float_accuracy.share)} ({change}; {allowed})"


def least_allowed(report: Report) -> float:
    """The share that the budget asks for, of accuracy or of agreement; 0 where nothing was scored."""
    scores = next((run.scores for run in _runs(report) if run.scores is not None), None)
    scores = scores or next((tried.scores for tried in report.remedies if tried.scores is not None), None)
    if scores is None:
        return 0.0
    if scores.float_accuracy is None:
        return report.recipe.budget.min_agreement
    return max(scores.float_accuracy.share - report.recipe.budget.max_accuracy_loss, 0.0)


def _runs(report: Report) -> Iterator[FamilyResult]:
    for variant in report.variants:
        yield from variant.runtimes


def speed(report: Report) -> Iterator[str]:
    """One sentence for each variant and runtime that ran, as far as float ran there too."""
    floats = {run.family: run for run in report.float_model.runtimes} if report.float_model is not None else {}
    for variant in report.variants:
        for run in variant.runtimes:
            bare = floats.get(run.family)
            if bare is not None and run.p50_ms and bare.p50_ms:
                yield _compared(variant.name, run, bare, run.p50_ms / bare.p50_ms)


def _compared(name: str, run: FamilyResult, bare: FamilyResult, ratio: float) -> str:
    where = f"in {run.family} {shorten(run.version)}"
    times = f"{milliseconds(run.p50_ms)} against {milliseconds(bare.p50_ms)}"
    if ratio > 1 + ALIKE:
        return (
            f"{shorten(name)} takes {ratio:.1f} times as long as float {where} ({times}){_why_slow(name, run, bare)}."
        )
    if ratio < 1 - ALIKE:
        return f"{shorten(name)} is {1 / ratio:.1f} times as fast as float {where} ({times}){_delegated(run)}."
    return f"{shorten(name)} is about as fast as float {where} ({times}){_delegated(run)}."


def _why_slow(name: str, run: FamilyResult, bare: FamilyResult) -> str:
    if run.delegated_ops is None or run.all_ops is None:
        return ""
    said = f": XNNPACK runs {run.delegated_ops} of its {run.all_ops} operators"
    if bare.delegated_ops is not None and bare.all_ops is not None:
        said += f", and {bare.delegated_ops} of the {bare.all_ops} of float"
    if run.delegated_ops > 0:
        return said
    if name == "int16x8":
        return f"{said}. XNNPACK has no kernels for 16-bit activations"
    if name in INTEGER and run.family == "tflite-runtime" and run.version.startswith("2.14"):
        return f"{said}. tflite-runtime 2.14 sends no int8 to XNNPACK"
    return said


def _delegated(run: FamilyResult) -> str:
    if run.delegated_ops is None or run.all_ops is None:
        return ""
    return f": XNNPACK runs {run.delegated_ops} of its {run.all_ops} operators"
