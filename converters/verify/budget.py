"""What compressing may cost. Pure decisions.

With labels the loss of accuracy decides, and agreement is only reported: a model may change its mind
on samples that it got wrong. Without labels agreement with the float model decides.
"""

import numpy as np
import numpy.typing as npt

from wherry.converters.report import Scores
from wherry.converters.verify import compare
from wherry.protocol.types import Share, Struct


class Budget(Struct, frozen=True, kw_only=True):
    max_accuracy_loss: Share
    min_agreement: Share


def score(reference: compare.Outputs, found: compare.Outputs, labels: npt.NDArray[np.int64] | None) -> Scores:
    """Compare as many samples as both have, which is a prefix of both."""
    count = min(len(reference), len(found))
    reference, found = reference[:count], found[:count]
    cosines = compare.cosines(reference, found)
    return Scores(
        samples=count,
        agreement=compare.agreement(reference, found),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        float_accuracy=None if labels is None else compare.accuracy(reference, labels[:count]),
        accuracy=None if labels is None else compare.accuracy(found, labels[:count]),
    )


def breach(scores: Scores, budget: Budget) -> str:
    """Why the scores miss the budget, in words; empty where they hold it."""
    loss = scores.accuracy_loss
    if loss is not None:
        if loss <= budget.max_accuracy_loss + 1e-9:
            return ""
        return (
            f"accuracy falls from {scores.float_accuracy:.1%} to {scores.accuracy:.1%} on {scores.samples} labelled"
            f" samples, a loss of {loss:.1%} where {budget.max_accuracy_loss:.1%} is allowed"
        )
    if scores.agreement >= budget.min_agreement - 1e-9:
        return ""
    return (
        f"agrees with the float model on {scores.agreement:.1%} of {scores.samples} samples"
        f" where {budget.min_agreement:.1%} is required"
    )


def range_hint(calibration: tuple[float, float], evaluation: tuple[float, float]) -> str:
    """What to do where both spans cannot come from the same preprocessing; empty where they can."""
    (low, high), (other_low, other_high) = calibration, evaluation
    width, other_width = high - low, other_high - other_low
    if width <= 2 * other_width and other_width <= 2 * width:
        return ""
    return (
        f"calibration values lie between {low:g} and {high:g}, evaluation values between {other_low:g} and"
        f" {other_high:g}: prepare both in the same way, as in training"
    )
