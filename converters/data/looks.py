"""Whether pictures look like pictures, and like those of evaluation: pure.

Neighbours in a picture are alike; in noise they have nothing in common. Measured by the correlation of each
value with that to its right and that below, without the mean of its sample and channel: noise has 0, pictures
have 0.5 to 1.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.data.layouts import source_layout, turn
from wherry.converters.data.sample_set import SampleSet
from wherry.converters.data.spread import evenly
from wherry.converters.data.warning import DataWarning
from wherry.converters.model import End

NOISE = 0.15
SMALLEST = 6
"""Rows and columns below which chance alone correlates neighbours."""

ENOUGH = 128
WINDOW = 96
"""Of each picture its middle, of so many rows and columns, is looked at."""

ENOUGH_FOR_ORDER = 20
SURE = 3.0
"""Standard errors from which a difference of mean colors is one."""

Array = npt.NDArray[Any]


def look_warnings(calibration: SampleSet, evaluation: SampleSet | None, ends: Sequence[End]) -> Iterator[DataWarning]:
    for end in ends:
        if not source_layout(end):
            continue
        ours = _pictures(calibration, end)
        theirs = None if evaluation is None else _pictures(evaluation, end)
        where = f" (input {end.name})" if len(ends) > 1 else ""
        yield from _constant_channels(calibration, evaluation, end, where)
        yield from _noise(ours, theirs, where)
        if theirs is not None and ours.shape[-1] == 3:
            yield from _channel_order(ours, theirs, where)


def neighbour_correlation(pictures: Array) -> npt.NDArray[np.float64]:
    """Of each picture of [N, height, width, channels]; those of one value are left out."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    power = (centred**2).mean(axis=(1, 2, 3))
    right = (centred[:, :, 1:] * centred[:, :, :-1]).mean(axis=(1, 2, 3))
    below = (centred[:, 1:] * centred[:, :-1]).mean(axis=(1, 2, 3))
    varied = power > 1e-12
    correlation: npt.NDArray[np.float64] = (right[varied] + below[varied]) / (2 * power[varied])
    return correlation


def _pictures(samples: SampleSet, end: End) -> npt.NDArray[np.float64]:
    some = samples.inputs[end.name][evenly(len(samples), ENOUGH)]
    pictures = turn(some, source_layout(end), "NHWC")
    top, left = (max(length - WINDOW, 0) // 2 for length in pictures.shape[1:3])
    return pictures[:, top : top + WINDOW, left : left + WINDOW].astype(np.float64)


def _noise(ours: Array, theirs: Array | None, where: str) -> Iterator[DataWarning]:
    if min(ours.shape[1:3]) < SMALLEST:
        return
    found = neighbour_correlation(ours)
    share = float((found < NOISE).mean()) if found.size else 0.0
    if theirs is None:
        suspicious, compared = share > 0.5, "in pictures it is above 0.5"
    else:
        real = neighbour_correlation(theirs)
        real_share = float((real < NOISE).mean()) if real.size else 0.0
        suspicious = share > 0.2 and share > 2 * real_share
        compared = f"in evaluation it is {np.mean(real):.2f}" if real.size else "evaluation has none"
    if suspicious:
        yield DataWarning(
            kind="noise",
            strong=True,
            message=f"{share:.0%} of calibration's pictures look like random noise: neighbouring values correlate by "
            f"{np.mean(found):.2f}, {compared}{where}",
            fix="calibrate with real pictures: noise gives ranges that real inputs do not have",
        )


def _constant_channels(
    calibration: SampleSet, evaluation: SampleSet | None, end: End, where: str
) -> Iterator[DataWarning]:
    axis = {"NHWC": 3, "NCHW": 1}[source_layout(end)]
    if end.sample_shape[axis - 1] < 2:
        return
    for channel in range(end.sample_shape[axis - 1]):
        values = calibration.inputs[end.name].take(channel, axis)
        if values.min() < values.max() or np.ptp(calibration.inputs[end.name]) == 0:
            continue
        if evaluation is not None and np.ptp(evaluation.inputs[end.name].take(channel, axis)) == 0:
            continue
        yield DataWarning(
            kind="constant-channel",
            strong=True,
            message=f"channel {channel} of calibration's pictures is {values.flat[0]:g} everywhere{where}",
            fix="give pictures with all channels, as in training",
        )


def _channel_order(ours: Array, theirs: Array, where: str) -> Iterator[DataWarning]:
    """Red and blue differ in the mean of most sets of pictures, and by the other sign where they were swapped."""
    if min(len(ours), len(theirs)) < ENOUGH_FOR_ORDER:
        return
    (mean, error), (real_mean, real_error) = _red_over_blue(ours), _red_over_blue(theirs)
    opposite = mean * real_mean < 0 and 0.5 < abs(mean / real_mean) < 2
    if opposite and abs(mean) > SURE * error and abs(real_mean) > SURE * real_error:
        yield DataWarning(
            kind="channel-order",
            message=f"the first channel exceeds the last by {mean:.3g} in calibration and by {real_mean:.3g} in "
            f"evaluation: one of them may have red and blue swapped{where}",
            fix="give both sets with their channels in the order of training (RGB, or BGR with OpenCV)",
        )


def _red_over_blue(pictures: Array) -> tuple[float, float]:
    """Mean over the pictures, and its standard error."""
    differences = (pictures[..., 0] - pictures[..., 2]).mean(axis=(1, 2))
    return float(differences.mean()), float(differences.std() / np.sqrt(len(differences)))
