"""Biases that make up for the rounding of weights: analytic bias correction on the float file.

Rounding weights shifts the mean of what a layer computes by (rounded - weights) * E[x]. After Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), section 4.2, with E[x] measured:

    bias += (weights - dequantize(quantize(weights))) * E[x]

Rules upheld here:
- E[x] is the mean over samples and output positions of the patch that each weight meets; the zeros of padding
  count, so borders are exact.
- Weights are rounded as the quantizer does it, one scale an output channel (`affine.py`).
- The corrected layer gets a bias of its own: converters share equal constants between layers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters import flatbuffer
from wherry.converters.compress import affine, graph, observe
from wherry.converters.compress.observe import Feed

Floats = npt.NDArray[np.float64]


def correct(float_file: bytes, feed: Feed) -> tuple[bytes, int]:
    """The float file with corrected biases, and how many layers were corrected."""
    model = graph.parse(float_file)
    subgraph = model.subgraphs[0]
    layers = [(name, op) for name, op in graph.operators(model, subgraph) if _is_layer(model, subgraph, name, op)]
    if not layers:
        return float_file, 0
    means = _means(float_file, feed, sorted({op.inputs[0] for _, op in layers}))
    layers = [(name, op) for name, op in layers if op.inputs[0] in means]
    for name, op in layers:
        weights = graph.floats(model, subgraph, op.inputs[1])
        shift = _shift(name, op, _rounding(weights, graph.CHANNEL_AXIS[name]), means[op.inputs[0]])
        graph.set_bias(model, subgraph, op, graph.bias(model, subgraph, op, len(shift)) + shift)
    return flatbuffer.write(model), len(layers)


def _is_layer(model: Any, subgraph: Any, name: str, op: Any) -> bool:
    if name not in graph.WEIGHTED or not graph.is_float(subgraph, op.inputs[0]):
        return False
    has_weights = graph.is_float(subgraph, op.inputs[1]) and graph.is_constant(model, subgraph, op.inputs[1])
    own_bias = len(op.inputs) < 3 or op.inputs[2] < 0 or graph.is_constant(model, subgraph, op.inputs[2])
    grouped = name == "CONV_2D" and _length(subgraph, op.inputs[0]) != _length(subgraph, op.inputs[1])
    return has_weights and own_bias and not grouped


def _length(subgraph: Any, index: int) -> int:
    return flatbuffer.shape(subgraph.tensors[index])[-1]


def _means(float_file: bytes, feed: Feed, indices: list[int]) -> dict[int, Floats]:
    """The mean of each tensor over the samples, in its own shape."""
    sums: dict[int, Floats] = {}
    count = 0
    for values in observe.tensors(float_file, feed, indices):
        count += 1
        for index, array in values.items():
            sums[index] = sums.get(index, 0.0) + array.astype(np.float64)
    return {index: total / count for index, total in sums.items()}


def _rounding(weights: npt.NDArray[np.float32], axis: int) -> Floats:
    """What rounding takes away, weights - rounded."""
    scales = affine.weight_scales(weights, axis)
    scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
    along = [1] * weights.ndim
    along[axis] = -1
    rounded = affine.quantize_weights(weights, scales, axis).astype(np.float64) * scales.reshape(along)
    return weights - rounded


def _shift(name: str, op: Any, rounding: Floats, mean: Floats) -> Floats:
    """[output channels]: what the rounding costs each, for inputs of mean `mean`."""
    shift: Floats
    if name == "FULLY_CONNECTED":
        shift = rounding @ mean.reshape(-1, rounding.shape[1]).mean(axis=0)
        return shift
    patch = mean_patch(mean, (rounding.shape[1], rounding.shape[2]), op.builtinOptions)
    if name == "CONV_2D":
        shift = np.einsum("oyxc,yxc->o", rounding, patch)
        return shift
    multiplier = rounding.shape[3] // patch.shape[2]
    shift = np.einsum("yxc,yxc->c", rounding[0], np.repeat(patch, multiplier, axis=2))
    return shift


def mean_patch(mean: Floats, kernel: tuple[int, int], options: Any) -> Floats:
    """[kernel height, width, channels]: the mean over all output positions of what each weight meets.

    `mean` is [1, height, width, channels]; `options` has TFLite's padding (0 is SAME), strides and dilations.
    """
    strides = (options.strideH, options.strideW)
    dilations = (options.dilationHFactor, options.dilationWFactor)
    lengths, margins = [], []
    for length, size, stride, dilation in zip(mean.shape[1:3], kernel, strides, dilations, strict=True):
        span = (size - 1) * dilation + 1
        count = -(-length // stride) if options.padding == 0 else (length - span) // stride + 1
        missing = max((count - 1) * stride + span - length, 0) if options.padding == 0 else 0
        lengths.append(count)
        margins.append((missing // 2, missing - missing // 2))
    padded = np.pad(mean[0], (*margins, (0, 0)))
    patch = np.empty((*kernel, mean.shape[3]))
    for y, x in np.ndindex(*kernel):
        top, left = y * dilations[0], x * dilations[1]
        rows = slice(top, top + (lengths[0] - 1) * strides[0] + 1, strides[0])
        columns = slice(left, left + (lengths[1] - 1) * strides[1] + 1, strides[1])
        patch[y, x] = padded[rows, columns].mean(axis=(0, 1))
    return patch
