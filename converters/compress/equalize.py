"""Channels of like range: cross-layer equalization on the float file.

Where one layer feeds another and nothing else, channel i of the first may be divided by s[i] and the weights that
read it multiplied, and the network computes the same. After Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction" (2019), section 4.1:

    s[i] = sqrt(largest weight that writes channel i / largest weight that reads it)

Rules upheld here:
- s[i] is rounded to a power of two, so that float results stay the same to the last bit.
- Between the two layers there is nothing, or what commutes with a positive factor a channel: ReLU, pooling, the mean
  over positions. ReLU6 and other bounded or curved functions do not: such pairs are left alone. So are branches,
  and weights that several operators share.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters import flatbuffer
from wherry.converters.compress import graph

SWEEPS = 4
"""In a chain, what one pair gains changes the next; more sweeps changed nothing in the networks tried."""

MAX_OCTAVES = 10
_BETWEEN = {"RELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"}
_READ_AXIS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 1}
_NONE, _RELU = 0, 1


@dataclass(frozen=True)
class Pair:
    """Two layers as (operator, name); `tensor` is what the first computes."""

    first: Any
    first_name: str
    second: Any
    second_name: str

    @property
    def tensor(self) -> int:
        return int(self.first.outputs[0])


def equalize(float_file: bytes) -> tuple[bytes, int]:
    """The float file with equalized channels, and how many pairs of layers were changed."""
    model = graph.parse(float_file)
    subgraph = model.subgraphs[0]
    found = pairs(model, subgraph)
    changed: set[int] = set()
    for _ in range(SWEEPS):
        for pair in found:
            scales = _scales(model, subgraph, pair)
            if (scales != 1).any():
                _apply(model, subgraph, pair, scales)
                changed.add(pair.tensor)
    return (flatbuffer.write(model), len(changed)) if changed else (float_file, 0)


def pairs(model: Any, subgraph: Any) -> list[Pair]:
    """All pairs of layers that may be equalized, in the order of execution."""
    layers = list(graph.operators(model, subgraph))
    readers = Counter(index for _, op in layers for index in op.inputs)
    readers.update(int(index) for index in subgraph.outputs)
    by_input = {index: (name, op) for name, op in layers for index in op.inputs if readers[index] == 1}
    found = []
    for name, op in layers:
        if not _is_layer(model, subgraph, name, op, readers) or not _homogeneous(op):
            continue
        reader = _next_layer(model, subgraph, by_input, op)
        if reader is not None and _is_layer(model, subgraph, *reader, readers) and _fits(subgraph, op, *reader):
            found.append(Pair(op, name, reader[1], reader[0]))
    return found


def _is_layer(model: Any, subgraph: Any, name: str, op: Any, readers: Counter[int]) -> bool:
    if name not in graph.WEIGHTED or not graph.is_float(subgraph, op.outputs[0]):
        return False
    weights = op.inputs[1]
    own = graph.is_float(subgraph, weights) and graph.is_constant(model, subgraph, weights) and readers[weights] == 1
    return own and (len(op.inputs) < 3 or op.inputs[2] < 0 or graph.is_constant(model, subgraph, op.inputs[2]))


def _homogeneous(op: Any) -> bool:
    return getattr(op.builtinOptions, "fusedActivationFunction", _NONE) in (_NONE, _RELU)


def _next_layer(model: Any, subgraph: Any, by_input: dict[int, tuple[str, Any]], op: Any) -> tuple[str, Any] | None:
    """The layer that alone reads what `op` computes, directly or through what commutes with a factor a channel."""
    while (reader := by_input.get(op.outputs[0])) is not None:
        name, following = reader
        if name not in _BETWEEN:
            return reader if following.inputs[0] == op.outputs[0] else None
        if not _homogeneous(following) or (name == "MEAN" and not _over_positions(model, subgraph, following)):
            return None
        op = following
    return None


def _over_positions(model: Any, subgraph: Any, mean: Any) -> bool:
    """Whether a MEAN is over other axes than the channels."""
    if not graph.is_constant(model, subgraph, mean.inputs[1]):
        return False
    dimensions = len(flatbuffer.shape(subgraph.tensors[mean.inputs[0]]))
    axes = graph.values(model, subgraph, mean.inputs[1], np.int32).ravel()
    return bool(((axes % dimensions) != dimensions - 1).all())


def _fits(subgraph: Any, first: Any, second_name: str, second: Any) -> bool:
    """Whether each input channel of the second layer is an output channel of the first."""
    channels = flatbuffer.shape(subgraph.tensors[first.outputs[0]])[-1]
    weights = flatbuffer.shape(subgraph.tensors[second.inputs[1]])
    given = flatbuffer.shape(subgraph.tensors[second.inputs[0]])
    return bool(given) and given[-1] == channels == weights[_READ_AXIS[second_name]]


def _scales(model: Any, subgraph: Any, pair: Pair) -> npt.NDArray[np.float32]:
    """[channels]: powers of two; 1 where a channel is dead or unread."""
    written = _largest(graph.floats(model, subgraph, pair.first.inputs[1]), graph.CHANNEL_AXIS[pair.first_name])
    read = _largest(graph.floats(model, subgraph, pair.second.inputs[1]), _READ_AXIS[pair.second_name])
    alive = (written > 0) & (read > 0)
    octaves = np.zeros(len(written))
    octaves[alive] = np.log2(written[alive] / read[alive]) / 2
    octaves[alive] -= np.median(octaves[alive]) if alive.any() else 0.0
    scales: npt.NDArray[np.float32] = np.exp2(np.clip(np.rint(octaves), -MAX_OCTAVES, MAX_OCTAVES)).astype(np.float32)
    return scales


def _largest(weights: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float64]:
    others = tuple(other for other in range(weights.ndim) if other != axis)
    largest: npt.NDArray[np.float64] = np.abs(weights).max(axis=others).astype(np.float64)
    return largest


def _apply(model: Any, subgraph: Any, pair: Pair, scales: npt.NDArray[np.float32]) -> None:
    for op, axis, factors in (
        (pair.first, graph.CHANNEL_AXIS[pair.first_name], 1 / scales),
        (pair.second, _READ_AXIS[pair.second_name], scales),
    ):
        weights = graph.floats(model, subgraph, op.inputs[1])
        along = [1] * weights.ndim
        along[axis] = -1
        graph.set_data(model, subgraph, op.inputs[1], weights * factors.reshape(along))
    graph.set_bias(model, subgraph, pair.first, graph.bias(model, subgraph, pair.first, len(scales)) / scales)
