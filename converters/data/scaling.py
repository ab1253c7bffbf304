"""Is calibration scaled as evaluation is, and if not, which of the usual mistakes is it?

Pure. A form is a way to write the same samples; what the mean and the deviation of evaluation would become in
another form is known, so a set that fits another form in range, mean and deviation tells what was done to it.
"""

from itertools import permutations
from typing import NamedTuple

from wherry.converters.data.statistics import Spread


class Form(NamedTuple):
    """stored = raw * scale + offset, between `low` and `high`; `done` is what was done to the raw values."""

    family: str
    text: str
    scale: float
    offset: float
    low: float
    high: float
    done: str


FORMS = (
    Form("picture", "0..255", 1.0, 0.0, 0.0, 255.0, ""),
    Form("picture", "0..1", 1 / 255, 0.0, 0.0, 1.0, "divided by 255"),
    Form("picture", "-1..1", 1 / 127.5, -1.0, -1.0, 1.0, "scaled to -1..1"),
    Form("picture", "-128..127", 1.0, -128.0, -128.0, 127.0, "shifted by 128"),
    Form("picture", "-2.1..2.6", 1 / 255 / 0.226, -0.449 / 0.226, -2.15, 2.67, "normalized by ImageNet's mean and std"),
    Form("sound", "-32768..32767", 1.0, 0.0, -32768.0, 32767.0, ""),
    Form("sound", "-1..1", 1 / 32768, 0.0, -1.0, 1.0, "divided by 32768"),
)

ALIKE = 2.0
"""Deviations of two sets of the same kind differ by less than this factor; those of other forms by more."""

CLEARLY = 0.3
"""Sets that are alike are still in different forms where that explains them so much better."""

_FILLS = 0.25
"""A set in a form reaches at least this share of it; sound at least 1/32."""


class _Change(NamedTuple):
    """From the form of evaluation to that of calibration; `misfit` is how far calibration is from it."""

    misfit: float
    ours: Form
    theirs: Form


def scaling_fault(calibration: Spread, evaluation: Spread, *, is_sure: bool = True) -> str:
    """What is wrong with the scale of calibration, in words that name both ranges; empty where nothing is.

    Without `is_sure`, as with a handful of samples, only what one of the usual mistakes explains.
    """
    if not calibration.std or not evaluation.std:
        return ""
    change = _best_change(calibration, evaluation)
    if _alike(calibration, evaluation, 1.0, 0.0):
        misfit = _misfit(calibration, evaluation, 1.0, 0.0)
        if not (is_sure and change and misfit > 1 - CLEARLY and change.misfit < CLEARLY * misfit):
            return ""
    if change:
        ranges = f"calibration is in {change.ours.text} and evaluation in {change.theirs.text}"
        return f"{ranges}: calibration was {_mistake(change.ours, change.theirs)}"
    between = f"calibration is {_between(calibration)} and evaluation {_between(evaluation)}"
    if (calibration.low < 0) == (evaluation.low < 0):
        if _alike(calibration, evaluation, 1 / 255, 0.0):
            return f"{between}: calibration was divided by 255 once too often"
        if _alike(calibration, evaluation, 255.0, 0.0):
            return f"{between}: calibration was not divided by 255, or evaluation once too often"
    return f"{between}: {_general(calibration, evaluation)}" if is_sure else ""


def _best_change(calibration: Spread, evaluation: Spread) -> _Change | None:
    """The change of form that explains calibration best, of those that explain it."""
    found = []
    for ours, theirs in permutations(FORMS, 2):
        scale = ours.scale / theirs.scale
        offset = ours.offset - scale * theirs.offset
        in_forms = ours.family == theirs.family and _in_form(calibration, ours) and _in_form(evaluation, theirs)
        if in_forms and _alike(calibration, evaluation, scale, offset):
            unfilled = 1 - (evaluation.high - evaluation.low) / (theirs.high - theirs.low)
            found.append(_Change(_misfit(calibration, evaluation, scale, offset) + abs(unfilled), ours, theirs))
    return min(found, key=lambda change: change.misfit, default=None)


def _in_form(spread: Spread, form: Form) -> bool:
    slack = 0.01 * (form.high - form.low)
    fills = _FILLS if form.family == "picture" else 1 / 32
    inside = form.low - slack <= spread.low and spread.high <= form.high + slack
    signs = form.low == 0.0 or spread.low < 0.0
    return inside and signs and spread.high - spread.low >= fills * (form.high - form.low)


def _alike(calibration: Spread, evaluation: Spread, scale: float, offset: float) -> bool:
    """Whether calibration is what evaluation becomes by `scale` and `offset`."""
    expected = evaluation.std * scale
    near = 1 / ALIKE < calibration.std / expected < ALIKE
    return near and abs(calibration.mean - (evaluation.mean * scale + offset)) < max(expected, calibration.std)


def _misfit(calibration: Spread, evaluation: Spread, scale: float, offset: float) -> float:
    """How far calibration is from what evaluation becomes by `scale` and `offset`; 0 where it is the same."""
    expected = evaluation.std * scale
    ratio = calibration.std / expected
    return max(ratio, 1 / ratio) - 1 + abs(calibration.mean - (evaluation.mean * scale + offset)) / expected


def _mistake(ours: Form, theirs: Form) -> str:
    if not theirs.done:
        return f"{ours.done} where it should not be"
    if not ours.done:
        return f"not {theirs.done}, as evaluation is"
    return f"{ours.done}, where evaluation was {theirs.done}"


def _general(calibration: Spread, evaluation: Spread) -> str:
    ratio = calibration.std / evaluation.std
    if 1 / ALIKE < ratio < ALIKE:
        shift = calibration.mean - evaluation.mean
        return f"calibration is shifted by {shift:.3g}; a mean was subtracted from one of them"
    if _standard(evaluation) or _standard(calibration):
        one, other = ("calibration", "evaluation") if _standard(calibration) else ("evaluation", "calibration")
        return f"{one} is standardized to mean 0 and deviation 1, {other} is not"
    words = f"{ratio:.3g} times as wide" if ratio > 1 else f"{1 / ratio:.3g} times narrower"
    return f"calibration is spread {words}, so it was scaled in another way"


def _standard(spread: Spread) -> bool:
    return abs(spread.mean) < 0.2 and 0.7 < spread.std < 1.4


def _between(spread: Spread) -> str:
    return f"between {spread.low:.4g} and {spread.high:.4g}"
