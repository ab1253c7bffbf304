"""Narrower ranges for activations than the smallest and largest value seen: outliers pay, the others gain steps.

Rules upheld here:
- Ranges are written into the calibrated file and never widened; they always hold zero.
- Left alone: outputs whose range their operator fixes (softmax, logistic, tanh …).
- Operators that only move values (reshape, transpose) keep the range of what they move, so that no requantization
  comes in between.
- Memory is bounded: a histogram of fixed size a tensor, and at most MAX_VALUES values of each tensor and sample.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from wherry.converters import flatbuffer
from wherry.converters.compress import graph, observe, variants
from wherry.converters.compress.histogram import Floats, Histogram, Range, mse_range, percentile_range
from wherry.converters.compress.observe import Array, Feed, Sample

Method = Literal["percentile", "mse"]
PERCENT = 99.99
MAX_VALUES = 1 << 16
HISTOGRAM_SAMPLES = 64
JUDGED_SAMPLES = 32
CLEARLY = 0.9
"""Of the error power: half a decibel."""

_FIXED = {"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "GATHER", "QUANTIZE", "DEQUANTIZE"}


def narrow(
    calibrated: bytes, float_file: bytes, feed: Callable[[], Feed], method: Method, percent: float = PERCENT
) -> tuple[bytes, int]:
    """The calibrated file with narrower ranges, and how many tensors were narrowed.

    `feed` gives the calibration samples; `percent` is how many values lie on the inner side of each end of the range.
    """
    return _narrowed(calibrated, _seen(calibrated, float_file, feed()), method, percent)


def choose(calibrated: bytes, float_file: bytes, samples: Sequence[Sample]) -> tuple[bytes, Method | None]:
    """The calibrated file with the ranges that bring int8 nearest to float, and which; None for those recorded.

    Measured at the outputs, on some of the calibration samples. Recorded ranges stay unless others are clearly nearer.
    """
    some = samples[:: -(-len(samples) // HISTOGRAM_SAMPLES)]
    judged = samples[:: -(-len(samples) // JUDGED_SAMPLES)]
    reference = observe.outputs(float_file, judged, fast=True)
    seen = _seen(calibrated, float_file, some)
    best: tuple[bytes, Method | None] = calibrated, None
    least = _noise(calibrated, reference, judged) * CLEARLY
    methods: tuple[Method, ...] = ("percentile", "mse")
    for method in methods:
        content, changed = _narrowed(calibrated, seen, method)
        found = _noise(content, reference, judged) if changed else math.inf
        if found < least:
            best, least = (content, method), found
    return best


def _noise(calibrated: bytes, reference: Sequence[Array], judged: Sequence[Sample]) -> float:
    quantized = variants.quantize(calibrated, io="float")
    return observe.noise(reference, observe.outputs(quantized, judged, fast=True))


def _seen(calibrated: bytes, float_file: bytes, feed: Feed) -> dict[int, Histogram]:
    model = graph.parse(calibrated)
    return _histograms(float_file, feed, _adjustable(model, model.subgraphs[0]))


def _narrowed(
    calibrated: bytes, seen: dict[int, Histogram], method: Method, percent: float = PERCENT
) -> tuple[bytes, int]:
    model = graph.parse(calibrated)
    subgraph = model.subgraphs[0]
    wanted, changed = list(seen), 0
    for index in wanted:
        found = percentile_range(seen[index], percent) if method == "percentile" else mse_range(seen[index])
        changed += _shrink(subgraph.tensors[index].quantization, found)
    for name, op in graph.operators(model, subgraph):
        if name in graph.MOVING and op.inputs[0] in wanted:
            _copy_range(subgraph, op.inputs[0], op.outputs[0])
            wanted.append(op.outputs[0])
    return (flatbuffer.write(model), changed) if changed else (calibrated, 0)


def _adjustable(model: Any, subgraph: Any) -> list[int]:
    """Float tensors with a recorded range: inputs, and what operators of no fixed range compute."""
    computed = [
        op.outputs[0]
        for name, op in graph.operators(model, subgraph)
        if name not in _FIXED | graph.MOVING and len(op.outputs) == 1
    ]
    return [
        index
        for index in (*map(int, subgraph.inputs), *computed)
        if graph.is_float(subgraph, index) and _recorded(subgraph, index) is not None
    ]


def _recorded(subgraph: Any, index: int) -> Range | None:
    quantization = subgraph.tensors[index].quantization
    if quantization is None or quantization.min is None or len(quantization.min) != 1:
        return None
    return float(quantization.min[0]), float(quantization.max[0])


def _histograms(float_file: bytes, feed: Feed, indices: list[int]) -> dict[int, Histogram]:
    seen = {index: Histogram() for index in indices}
    for values in observe.tensors(float_file, feed, indices):
        for index, array in values.items():
            seen[index].add(_some(array))
    return seen


def _some(array: Any) -> Floats:
    """At most MAX_VALUES, evenly taken; an odd stride meets all channels."""
    flat: Floats = array.ravel()
    stride = -(-flat.size // MAX_VALUES)
    return flat[:: stride | 1] if stride > 1 else flat


def _shrink(quantization: Any, found: Range) -> bool:
    """Write the range where it is narrower; whether it was."""
    low, high = float(quantization.min[0]), float(quantization.max[0])
    new_low, new_high = max(min(low, 0.0), found[0]), min(max(high, 0.0), found[1])
    if new_low >= new_high or (new_low <= low and new_high >= high):
        return False
    quantization.min, quantization.max = np.array([new_low], np.float32), np.array([new_high], np.float32)
    return True


def _copy_range(subgraph: Any, source: int, target: int) -> None:
    given, taking = subgraph.tensors[source].quantization, subgraph.tensors[target].quantization
    if taking is not None and taking.min is not None:
        taking.min, taking.max = given.min, given.max
