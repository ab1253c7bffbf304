"""The values of each input, of calibration beside evaluation, for the checks and for a plot.

Lowest and highest are of all values; where there are very many, the rest is of values evenly taken from them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.data.sample_set import SampleSet
from wherry.protocol.types import Count, Struct

BINS = 32
ENOUGH_VALUES = 2_000_000

Array = npt.NDArray[Any]


class Spread(Struct, frozen=True, kw_only=True):
    """The values of one input in one set of samples; `histogram` counts them in bins over the axis of InputRange."""

    low: float
    high: float
    mean: float
    std: float
    histogram: tuple[Count, ...]


class InputRange(Struct, frozen=True, kw_only=True):
    """One input; its histograms have `BINS` bins of equal width between `axis_low` and `axis_high`."""

    name: str
    axis_low: float
    axis_high: float
    calibration: Spread
    evaluation: Spread | None = None


def input_ranges(calibration: SampleSet, evaluation: SampleSet | None) -> tuple[InputRange, ...]:
    """For each input, over an axis that both sets fit on."""
    return tuple(_input_range(name, calibration, evaluation) for name in calibration.inputs)


def some_values(samples: Array) -> npt.NDArray[np.float64]:
    """At most `ENOUGH_VALUES` or so of all values, from every part of every sample."""
    step = samples.size // ENOUGH_VALUES
    if step > 1:
        step |= 1  # an even step would see the same columns of all pictures
        step += 2 * (step % 3 == 0)  # and one of three the same channel
    return samples.reshape(-1)[:: max(step, 1)].astype(np.float64)


def _input_range(name: str, calibration: SampleSet, evaluation: SampleSet | None) -> InputRange:
    spans = [samples.span(name) for samples in (calibration, evaluation) if samples is not None]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    axis = (low, high) if low < high else (low - 0.5, high + 0.5)
    return InputRange(
        name=name,
        axis_low=axis[0],
        axis_high=axis[1],
        calibration=_spread(calibration, name, axis),
        evaluation=None if evaluation is None else _spread(evaluation, name, axis),
    )


def _spread(samples: SampleSet, name: str, axis: tuple[float, float]) -> Spread:
    values = some_values(samples.inputs[name])
    low, high = samples.span(name)
    counts, _ = np.histogram(values, BINS, axis)
    return Spread(
        low=low,
        high=high,
        mean=float(values.mean()),
        std=float(values.std()),
        histogram=tuple(int(count) for count in counts),
    )
