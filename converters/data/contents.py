"""How many samples there are, and whether they are different ones: pure."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.data.sample_set import SampleSet
from wherry.converters.data.warning import DataWarning

FEW, RATHER_FEW = 10, 50
MAX_REPEATED = 0.05
MAX_OVERLAP = 0.01
MAX_BLANK = 0.1

Array = npt.NDArray[Any]

_MORE = "give some hundreds of real inputs of all kinds that the model will see"


def content_warnings(calibration: SampleSet, evaluation: SampleSet | None) -> Iterator[DataWarning]:
    ours = digests(calibration)
    yield from _count_warnings(ours)
    yield from _constant_warnings(calibration, evaluation)
    if evaluation is not None:
        yield from _overlap_warnings(ours, digests(evaluation))


def digests(samples: SampleSet) -> list[bytes]:
    """One a sample, over all of its inputs."""
    found = []
    for index in range(len(samples)):
        digest = sha256()
        for values in samples.inputs.values():
            digest.update(np.ascontiguousarray(values[index]).data)
        found.append(digest.digest())
    return found


def _count_warnings(ours: list[bytes]) -> Iterator[DataWarning]:
    count, different = len(ours), len(set(ours))
    if different == 1:
        message = "calibration is one sample" if count == 1 else f"all {count} calibration samples are the same one"
        message += ": its ranges are those of one input, not of the model's"
        yield DataWarning(kind="few-samples", strong=True, message=message, fix=_MORE)
        return
    if different < RATHER_FEW:
        message = f"calibration has only {different} {'different ' if different < count else ''}samples"
        yield DataWarning(kind="few-samples", strong=different < FEW, message=message, fix=_MORE)
    if count - different > MAX_REPEATED * count:
        yield DataWarning(
            kind="duplicates",
            strong=different < 0.5 * count,
            message=f"{count - different} of {count} calibration samples repeat others exactly",
            fix="leave repetitions out: they add nothing, and hide how few samples there are",
        )


def _constant_warnings(calibration: SampleSet, evaluation: SampleSet | None) -> Iterator[DataWarning]:
    for name, values in calibration.inputs.items():
        low, high = calibration.span(name)
        if low == high:
            if evaluation is None or evaluation.span(name) != (low, high):
                yield DataWarning(
                    kind="constant-input",
                    strong=True,
                    message=f"input {name} is {low:g} in every calibration sample",
                    fix="give real values of this input: it is quantized to this one",
                )
            continue
        rows = values.reshape(len(values), -1)
        blank = int((rows.min(axis=1) == rows.max(axis=1)).sum()) if rows.shape[1] > 1 else 0
        if blank > MAX_BLANK * len(rows):
            yield DataWarning(
                kind="constant-samples",
                strong=blank > 0.5 * len(rows),
                message=f"{blank} of {len(rows)} calibration samples have the same value everywhere (input {name})",
                fix="replace blank samples by real ones",
            )
        if evaluation is not None and values.ndim == 2:
            yield from _dead_features(name, values, evaluation.inputs[name])


def _dead_features(name: str, ours: Array, theirs: Array) -> Iterator[DataWarning]:
    dead = np.flatnonzero((ours.min(axis=0) == ours.max(axis=0)) & (theirs.min(axis=0) != theirs.max(axis=0)))
    share = len(dead) / ours.shape[1]
    if share > MAX_BLANK:
        listing = ", ".join(map(str, dead[:5])) + (", …" if len(dead) > 5 else "")
        yield DataWarning(
            kind="constant-channel",
            strong=False,
            message=f"{len(dead)} of {ours.shape[1]} values of input {name} never change in calibration, "
            f"but do in evaluation: {listing}",
            fix="give samples in which they change",
        )


def _overlap_warnings(ours: list[bytes], theirs: list[bytes]) -> Iterator[DataWarning]:
    known = set(ours)
    common = sum(digest in known for digest in theirs)
    if common > max(MAX_OVERLAP * len(theirs), min(1, len(theirs) - 1)):
        how_many = "all" if common == len(theirs) else str(common)
        yield DataWarning(
            kind="overlap",
            message=f"{how_many} of {len(theirs)} evaluation samples are calibration samples too: "
            "what is measured on them is better than what the model will do",
            fix="evaluate on samples that were used for nothing else",
        )
