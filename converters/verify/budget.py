"""What compressing may cost. Pure decisions.

With labels the loss of accuracy decides, and agreement is only reported: a model may change its mind
on samples that it got wrong. Without labels agreement with the float model decides, over all outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wherry.converters.report import Interval, McNemar, Scores
from wherry.converters.verify import compare
from wherry.protocol.recipe import Budget

Reals = Sequence[compare.Outputs]


@dataclass(frozen=True)
class Yardstick:
    """How outputs are compared: `labels` belong to output `labelled`; `classes` says which outputs have a top class."""

    budget: Budget
    classes: tuple[bool, ...]
    labels: npt.NDArray[np.int64] | None = None
    labelled: int = 0


def yardstick(
    budget: Budget,
    shapes: Sequence[tuple[int, ...]],
    task: Literal["auto", "classes", "values"],
    labels: npt.NDArray[np.int64] | None,
    labelled: int,
) -> Yardstick:
    """For outputs of `shapes`, without their batch. Labels make their output one of classes, whatever `task` says."""
    seen = [task != "values" and compare.is_scores(shape) for shape in shapes]
    if labels is not None:
        seen[labelled] = True
    return Yardstick(budget, tuple(seen), labels, labelled)


def score(reference: Reals, found: Reals, stick: Yardstick) -> Scores:
    """Compare as many samples as both have, which is a prefix of both. Agreement and cosine are of the worst output."""
    count = min(len(reference[0]), len(found[0]))
    pairs = [(a[:count], b[:count]) for a, b in zip(reference, found, strict=True)]
    agreements = [compare.agreement(a, b, classes=c) for (a, b), c in zip(pairs, stick.classes, strict=True)]
    worst = int(np.argmin(agreements))
    cosines = np.stack([compare.cosines(a, b) for a, b in pairs]).min(axis=0)
    scores = Scores(
        samples=count,
        agreement=agreements[worst],
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        snr_db=round(min(compare.snr_db(a, b) for a, b in pairs), 2),
        agreement_interval=interval(round(agreements[worst] * count), count) if stick.classes[worst] else None,
    )
    if stick.labels is None:
        return scores
    before, after = pairs[stick.labelled]
    return _labelled(scores, before, after, stick.labels[:count])


def _labelled(scores: Scores, before: compare.Outputs, after: compare.Outputs, labels: npt.NDArray[np.int64]) -> Scores:
    was_right, is_right = compare.right(before, labels), compare.right(after, labels)
    return Scores(
        samples=scores.samples,
        agreement=scores.agreement,
        mean_cosine=scores.mean_cosine,
        min_cosine=scores.min_cosine,
        snr_db=scores.snr_db,
        agreement_interval=scores.agreement_interval,
        float_accuracy=interval(int(was_right.sum()), len(labels)),
        accuracy=interval(int(is_right.sum()), len(labels)),
        mcnemar=mcnemar(int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())),
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


def breach(scores: Scores, budget: Budget) -> str:
    """Why the scores miss the budget, in words; empty where they hold it."""
    loss = scores.accuracy_loss
    if loss is not None:
        assert scores.float_accuracy is not None
        assert scores.accuracy is not None
        if loss <= budget.max_accuracy_loss + 1e-9:
            return ""
        return (
            f"accuracy falls from {scores.float_accuracy.share:.1%} to {scores.accuracy.share:.1%} on"
            f" {scores.samples} labelled samples, a loss of {loss:.1%} where {budget.max_accuracy_loss:.1%} is allowed"
        )
    if scores.agreement >= budget.min_agreement - 1e-9:
        return ""
    return (
        f"agrees with the float model on {scores.agreement:.1%} of {scores.samples} samples"
        f" where {budget.min_agreement:.1%} is required"
    )
