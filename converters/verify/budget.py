"""What compressing may cost. Pure decisions.

With labels the loss of accuracy decides on the output that they belong to, and its agreement is only reported: a
model may change its mind on samples that it got wrong. Without labels, and on all other outputs, agreement with the
float model decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.report import Interval, McNemar, Scores
from wherry.converters.verify import compare
from wherry.protocol.recipe import Budget

Reals = Sequence[compare.Outputs]


@dataclass(frozen=True)
class Yardstick:
    """How outputs are compared: each by its reading; `labels` belong to output `labelled`.

    Without a float model, runtimes are compared with each other, and no accuracy was lost that anybody knows of.
    """

    budget: Budget
    readings: tuple[compare.Reading, ...]
    labels: npt.NDArray[np.int64] | None = None
    labelled: int = 0
    against_float: bool = True


def yardstick(
    budget: Budget,
    shapes: Sequence[tuple[int, ...]],
    reference: Reals,
    task: Literal["auto", "classes", "values"],
    labels: npt.NDArray[np.int64] | None,
    labelled: int,
    *,
    against_float: bool = True,
) -> Yardstick:
    """For outputs of `shapes`, without their batch; `reference` are the float model's, or none where there is none.

    Labels make their output one of classes, whatever `task` says.
    """
    readings = []
    for index, shape in enumerate(shapes):
        values = reference[index] if reference else None
        if labels is not None and index == labelled:
            readings.append(compare.SCORES if compare.is_scores(shape) else compare.binary(values))
        elif task == "auto" and values is not None:
            readings.append(compare.reading(values))
        else:
            readings.append(compare.Reading(classes=task != "values" and compare.is_scores(shape)))
    return Yardstick(budget, tuple(readings), labels, labelled, against_float)


def score(reference: Reals, found: Reals, stick: Yardstick) -> Scores:
    """Compare as many samples as both have, which is a prefix of both. Agreement and cosine are of the worst output."""
    count = min(len(reference[0]), len(found[0]))
    pairs = [(a[:count], b[:count]) for a, b in zip(reference, found, strict=True)]
    agreements = [compare.agreement(a, b, how) for (a, b), how in zip(pairs, stick.readings, strict=True)]
    worst = int(np.argmin(agreements))
    cosines = np.stack([compare.cosines(a, b) for a, b in pairs]).min(axis=0)
    scores = Scores(
        samples=count,
        agreement=agreements[worst],
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        snr_db=round(min(compare.snr_db(a, b) for a, b in pairs), 2),
        agreement_interval=interval(round(agreements[worst] * count), count) if stick.readings[worst].classes else None,
    )
    if stick.labels is None:
        return scores
    before, after = pairs[stick.labelled]
    labels, how = stick.labels[:count], stick.readings[stick.labelled]
    is_right = compare.right(after, labels, how)
    scores = msgspec.structs.replace(scores, accuracy=interval(int(is_right.sum()), count))
    if not stick.against_float:
        return scores
    was_right = compare.right(before, labels, how)
    return msgspec.structs.replace(
        scores,
        guessing=float(np.bincount(labels).max()) / count,
        float_accuracy=interval(int(was_right.sum()), count),
        mcnemar=mcnemar(int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())),
    )


def breach_elsewhere(reference: Reals, found: Reals, stick: Yardstick) -> str:
    """Why the outputs beside the labelled one miss the budget, in words; empty where they hold it, or are none."""
    if stick.labels is None or not stick.against_float or len(reference) < 2:
        return ""
    count = min(len(reference[0]), len(found[0]))
    outputs = zip(reference, found, stick.readings, strict=True)
    shares = [compare.agreement(a[:count], b[:count], how) for a, b, how in outputs]
    worst = min(share for index, share in enumerate(shares) if index != stick.labelled)
    if worst >= stick.budget.min_agreement - 1e-9:
        return ""
    return (
        f"an output without labels agrees with the float model on {worst:.1%} of {count} samples"
        f" where {stick.budget.min_agreement:.1%} is required"
    )


def interval(hits: int, count: int) -> Interval:
    """The share of `hits` with its 95 % interval after Wilson (1927)."""
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return Interval(share=hits / count, low=max(float(found.low), 0.0), high=min(float(found.high), 1.0))


def mcnemar(lost: int, won: int) -> McNemar:
    """The exact test of McNemar (1947): of the samples on which the two differ, half would be lost by chance."""
    from scipy.stats import binomtest

    p_value = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    return McNemar(lost=lost, won=won, p_value=min(p_value, 1.0))


def labels_unlike(scores: Scores) -> str:
    """What is wrong with labels of which the float model knows no more than chance does; empty where it does."""
    before, guessing = scores.float_accuracy, scores.guessing
    if before is None or guessing is None or before.high > guessing:
        return ""
    return (
        f"the labels do not fit the model: float is right on {before.share:.1%} of {scores.samples} samples, and always"
        f" naming the commonest class would be on {guessing:.1%}; number the classes from 0 in the order of the output"
    )


def breach(scores: Scores, budget: Budget) -> str:
    """Why the scores miss the budget, in words; empty where they hold it.

    Where float is no better than always naming the commonest class, labels prove nothing, and agreement decides.
    """
    loss, before = scores.accuracy_loss, scores.float_accuracy
    if loss is not None and before is not None and before.high > (scores.guessing or 0.0):
        assert scores.accuracy is not None
        if loss <= budget.max_accuracy_loss + 1e-9:
            return ""
        return (
            f"accuracy falls from {before.share:.1%} to {scores.accuracy.share:.1%} on"
            f" {scores.samples} labelled samples, a loss of {loss:.1%} where {budget.max_accuracy_loss:.1%} is allowed"
        )
    if scores.agreement >= budget.min_agreement - 1e-9:
        return ""
    if scores.agreement_interval is None:
        return (
            f"reproduces {scores.agreement:.1%} of the variance of the float model's outputs on"
            f" {scores.samples} samples where {budget.min_agreement:.1%} is required"
        )
    return (
        f"agrees with the float model on {scores.agreement:.1%} of {scores.samples} samples"
        f" where {budget.min_agreement:.1%} is required"
    )
