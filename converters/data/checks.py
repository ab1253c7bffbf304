"""Faults of calibration data that would cost the accuracy, told before hours are lost.

Rules upheld here:
- Pure: samples in, warnings out, strong ones first; nothing is refused here.
- Each warning names the fault, with numbers, and what to do.
- Evaluation is the measure: where the two sets differ, calibration is suspected. Calibration alone is judged too.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from wherry.converters.data.classes import class_warnings
from wherry.converters.data.contents import FEW, content_warnings
from wherry.converters.data.looks import look_warnings
from wherry.converters.data.sample_set import SampleSet
from wherry.converters.data.scaling import scaling_fault
from wherry.converters.data.statistics import InputRange, input_ranges, some_values
from wherry.converters.data.warning import DataWarning
from wherry.converters.model import End
from wherry.protocol.types import Struct

MAX_CLIPPED = 0.01
"""Of evaluation's values outside of calibration's range: quantized, they all become its ends."""

MAX_WIDER = 8.0
"""Calibration's range against evaluation's: three of eight bits go unused."""


class DataChecks(Struct, frozen=True, kw_only=True):
    """What was found about the data, for the report."""

    warnings: tuple[DataWarning, ...] = ()
    ranges: tuple[InputRange, ...] = ()


def check_data(calibration: SampleSet, evaluation: SampleSet | None, ends: Sequence[End]) -> DataChecks:
    """Look through both sets, which are in the form of the inputs `ends`."""
    ranges = input_ranges(calibration, evaluation)
    scale = [*_scale_warnings(calibration, evaluation, ranges)]
    looks = look_warnings(calibration, evaluation, ends)
    if any(warning.kind == "scaling" for warning in scale):
        looks = (warning for warning in looks if warning.kind != "channel-order")  # colors cannot be compared then
    found = [
        *content_warnings(calibration, evaluation),
        *scale,
        *looks,
        *class_warnings(calibration, evaluation),
    ]
    return DataChecks(warnings=tuple(sorted(found, key=lambda warning: not warning.strong)), ranges=ranges)


def _scale_warnings(
    calibration: SampleSet, evaluation: SampleSet | None, ranges: Sequence[InputRange]
) -> Iterator[DataWarning]:
    for each in ranges:
        if evaluation is None or each.evaluation is None or calibration.inputs[each.name].dtype.kind == "b":
            continue
        where = f" (input {each.name})" if len(ranges) > 1 else ""
        fault = scaling_fault(each.calibration, each.evaluation, is_sure=len(calibration) >= FEW)
        if fault:
            yield DataWarning(
                kind="scaling",
                strong=True,
                message=f"{fault}{where}",
                fix="prepare calibration exactly as evaluation, both as in training; --preprocess is applied to both",
            )
        else:
            yield from _range_warnings(evaluation, each, where)


def _range_warnings(evaluation: SampleSet, each: InputRange, where: str) -> Iterator[DataWarning]:
    assert each.evaluation is not None
    ours, theirs = each.calibration, each.evaluation
    values = some_values(evaluation.inputs[each.name])
    step = (ours.high - ours.low) / 255
    clipped = float(np.mean((values < ours.low - step) | (values > ours.high + step)))
    if clipped > MAX_CLIPPED:
        yield DataWarning(
            kind="range-narrow",
            strong=clipped > 10 * MAX_CLIPPED,
            message=f"{clipped:.1%} of evaluation's values lie outside of calibration's range, "
            f"{ours.low:.4g} to {ours.high:.4g}, and will be clipped{where}",
            fix="add calibration samples that reach as far as the model will see",
        )
    if theirs.high > theirs.low and ours.high - ours.low > MAX_WIDER * (theirs.high - theirs.low):
        yield DataWarning(
            kind="range-wide",
            strong=True,
            message=f"calibration reaches from {ours.low:.4g} to {ours.high:.4g}, evaluation only from "
            f"{theirs.low:.4g} to {theirs.high:.4g}: most steps of int8 go unused{where}",
            fix="remove outliers from calibration",
        )
