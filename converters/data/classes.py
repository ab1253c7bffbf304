"""Whether calibration has all classes, and in like numbers: pure."""

from collections.abc import Iterator

import numpy as np

from wherry.converters.data.sample_set import SampleSet
from wherry.converters.data.warning import DataWarning

MAX_IMBALANCE = 10.0
ENOUGH_A_CLASS = 5
"""On average; with fewer samples a class is missing by chance."""


def class_warnings(calibration: SampleSet, evaluation: SampleSet | None) -> Iterator[DataWarning]:
    for said, samples in (("calibration", calibration), ("evaluation", evaluation)):
        if samples is not None:
            yield from _alone(said, samples)
    if evaluation is not None:
        yield from _compared(calibration, evaluation)


def _alone(said: str, samples: SampleSet) -> Iterator[DataWarning]:
    if samples.labels is None or len(samples) < 2:
        return
    classes, counts = np.unique(samples.labels, return_counts=True)
    if len(classes) == 1:
        yield DataWarning(
            kind="one-class",
            strong=True,
            message=f"all {len(samples)} {said} samples are of class {_name(samples, int(classes[0]))}",
            fix="take samples of all classes; sorted data must not be cut off",
        )
    elif counts.max() > MAX_IMBALANCE * counts.min() and len(samples) >= ENOUGH_A_CLASS * len(classes):
        most, least = int(classes[counts.argmax()]), int(classes[counts.argmin()])
        yield DataWarning(
            kind="unbalanced",
            message=f"{said} has {counts.max()} samples of class {_name(samples, most)} "
            f"and {counts.min()} of class {_name(samples, least)}",
            fix="take about as many samples of one class as of another",
        )


def _compared(calibration: SampleSet, evaluation: SampleSet) -> Iterator[DataWarning]:
    if calibration.labels is None or evaluation.labels is None:
        return
    ours, theirs = calibration.class_names, evaluation.class_names
    if ours and theirs and ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))
        yield DataWarning(
            kind="class-names",
            strong=True,
            message=f"calibration and evaluation have different folders of classes: {', '.join(odd[:5])} "
            "in one of them, so the same number is another class",
            fix="keep the same folders in both, empty ones where a class has no pictures",
        )
        return
    missing = np.setdiff1d(evaluation.labels, calibration.labels)
    known = np.unique(evaluation.labels)
    if len(missing) and len(np.unique(calibration.labels)) > 1 and len(calibration) >= ENOUGH_A_CLASS * len(known):
        names = ", ".join(_name(evaluation, int(number)) for number in missing[:5])
        yield DataWarning(
            kind="missing-classes",
            strong=len(missing) > 0.5 * len(known),
            message=f"{len(missing)} of evaluation's {len(known)} classes are not in calibration: {names}",
            fix="take samples of all classes",
        )


def _name(samples: SampleSet, number: int) -> str:
    names = samples.class_names
    return f"{number} ({names[number]})" if 0 <= number < len(names) else str(number)
