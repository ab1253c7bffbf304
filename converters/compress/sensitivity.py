"""What quantizing each layer costs, measured: that layer alone in int8, all others in float, against the float file.

Rules upheld here:
- The same files and samples give the same ranking: work is bounded by counts, never by the clock.
- Where there are more layers than MAX_MEASURED, only those are measured whose own output, in the quantized file,
  lost the most against what they were given; the others are not in the list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters import flatbuffer
from wherry.converters.compress import graph, observe, variants
from wherry.converters.compress.observe import Sample

MAX_SAMPLES = 64
MAX_MEASURED = 100
MAX_VALUES = 1 << 31
"""Activations computed in all: layers times samples times the values of one sample. About two minutes."""

MIN_SAMPLES = 8
Say = Callable[[int, int], None]
_NOT_LAYERS = {*graph.MOVING, "QUANTIZE", "DEQUANTIZE", "SHAPE", "PACK"}


@dataclass(frozen=True)
class LayerCost:
    """`noise_share`: of the summed error power at the outputs, what this layer alone makes, 0 to 1.

    `tensor` names the layer's output, as `variants.quantize` wants it; `extra_bytes` is what it costs to keep it float.
    """

    op: str
    tensor: str
    noise_share: float
    extra_bytes: int


@dataclass(frozen=True)
class _Layer:
    op: str
    tensor: str
    inputs: tuple[str, ...]
    weights: int


def ranked(float_file: bytes, calibrated: bytes, samples: Sequence[Sample], say: Say) -> list[LayerCost]:
    """The layers by what quantizing them costs, the most costly first. `say(done, total)` after each layer."""
    layers, values = _layers(calibrated)
    used = samples[:: -(-len(samples) // _sample_count(min(len(layers), MAX_MEASURED), values))]
    reference = observe.outputs(float_file, used)
    suspects = layers if len(layers) <= MAX_MEASURED else _suspects(calibrated, layers, used)
    everything = frozenset(layer.tensor for layer in layers)
    noises = []
    for done, layer in enumerate(suspects, 1):
        alone = variants.only(calibrated, everything - {layer.tensor})
        noises.append(0.0 if alone is None else observe.noise(reference, observe.outputs(alone, used)))
        say(done, len(suspects))
    total = max(sum(noises), 1e-30)
    costs = [
        LayerCost(layer.op, layer.tensor, noise / total, 3 * layer.weights)
        for layer, noise in zip(suspects, noises, strict=True)
    ]
    return sorted(costs, key=lambda cost: (-cost.noise_share, cost.tensor))


def _layers(calibrated: bytes) -> tuple[list[_Layer], int]:
    """What may be quantized, and how many values all of it computes for a sample."""
    model = graph.parse(calibrated)
    subgraph = model.subgraphs[0]
    found, values = [], 0
    for name, op in graph.operators(model, subgraph):
        if name in _NOT_LAYERS or not op.outputs or not graph.is_float(subgraph, op.outputs[0]):
            continue
        constants = [index for index in op.inputs[:2] if graph.is_constant(model, subgraph, index)]
        weights = sum(
            int(np.prod(flatbuffer.shape(subgraph.tensors[i]))) for i in constants if graph.is_float(subgraph, i)
        )
        inputs = tuple(graph.tensor_name(subgraph, index) for index in op.inputs if index >= 0)
        found.append(_Layer(name, graph.tensor_name(subgraph, op.outputs[0]), inputs, weights))
        values += int(np.prod(flatbuffer.shape(subgraph.tensors[op.outputs[0]])))
    return found, values


def _sample_count(layers: int, values: int) -> int:
    affordable = MAX_VALUES // max(layers * values, 1)
    return int(np.clip(affordable, MIN_SAMPLES, MAX_SAMPLES))


def _suspects(calibrated: bytes, layers: list[_Layer], samples: Sequence[Sample]) -> list[_Layer]:
    """The MAX_MEASURED layers that add the most relative error to what they were given, in order of execution."""
    few = samples[:MIN_SAMPLES]
    error = _relative_errors(calibrated, variants.quantize(calibrated, io="float"), few)
    added = [
        error.get(each.tensor, 0.0) - max((error.get(i, 0.0) for i in each.inputs), default=0.0) for each in layers
    ]
    chosen = sorted(np.argsort(added, kind="stable")[::-1][:MAX_MEASURED])
    return [layers[index] for index in chosen]


def _relative_errors(real: bytes, quantized: bytes, samples: Sequence[Sample]) -> dict[str, float]:
    """By tensor name, the error power relative to the power, for tensors that both files have."""
    ours, theirs = _named(real), _named(quantized)
    both = sorted(ours.keys() & theirs.keys())
    runs = zip(
        observe.tensors(real, samples, [ours[name][0] for name in both]),
        observe.tensors(quantized, samples, [theirs[name][0] for name in both]),
        strict=True,
    )
    power, lost = dict.fromkeys(both, 1e-30), dict.fromkeys(both, 0.0)
    for expected, found in runs:
        for name in both:
            a = expected[ours[name][0]].astype(np.float64)
            power[name] += float((a**2).sum())
            lost[name] += float(((_real(found[theirs[name][0]], theirs[name][1]) - a) ** 2).sum())
    return {name: lost[name] / power[name] for name in both}


def _named(content: bytes) -> dict[str, tuple[int, Any]]:
    """(index, quantization) of what operators compute."""
    model = graph.parse(content)
    subgraph = model.subgraphs[0]
    found = {index for _, op in graph.operators(model, subgraph) for index in op.outputs}
    return {
        graph.tensor_name(subgraph, index): (index, subgraph.tensors[index].quantization) for index in sorted(found)
    }


def _real(stored: npt.NDArray[Any], quantization: Any) -> npt.NDArray[np.float64]:
    if stored.dtype.kind == "f" or quantization is None or quantization.scale is None:
        return stored.astype(np.float64)
    return (stored.astype(np.float64) - int(quantization.zeroPoint[0])) * float(quantization.scale[0])
