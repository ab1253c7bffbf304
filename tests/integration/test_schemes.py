"""The formula of each quantization scheme, in plain NumPy, against stored numbers and the kernels' own answers.

docs/reference/quantization.md says them in words. int8 is in test_affine.py. The kernels are tflite-runtime's built-in
ones; every operator is given what the runtime gave it, so that errors do not add up.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wherry.converters.compress import affine, graph
from wherry.protocol.manifest import Quantization

pytestmark = pytest.mark.slow
pytest.importorskip("tflite_runtime", reason="the built-in kernels of tflite-runtime are the reference")

Array = npt.NDArray[Any]
RELU = 1
SAMPLES = 8


class Ran:
    """A file of the `vision` network, and every tensor of some runs of it."""

    def __init__(self, directory: Path, variant: str) -> None:
        from tflite_runtime.interpreter import Interpreter, OpResolverType

        content = (directory / f"vision-{variant}.tflite").read_bytes()
        self.model = graph.parse(content)
        self.graph = self.model.subgraphs[0]
        interpreter = Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        with np.load(directory / "vision.npz") as arrays:
            images = arrays["evaluation_in_0"][:SAMPLES]
        self.runs: list[dict[int, Array]] = []
        indices = range(len(self.graph.tensors))
        for image in images:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
            interpreter.invoke()
            self.runs.append({index: interpreter.get_tensor(index) for index in indices})

    def operators(self, *names: str) -> list[tuple[str, Any]]:
        return [(name, op) for name, op in graph.operators(self.model, self.graph) if name in names]

    def outputs(self, op: Any) -> list[tuple[Array, Array]]:
        """(what it was given, what it answered); nothing where the next operator answers in the same place."""
        overwritten = {following.inputs[0] for _, following in self.operators("ADD", "SOFTMAX")}
        if op.outputs[0] in overwritten:
            return []
        return [(tensors[op.inputs[0]], tensors[op.outputs[0]]) for tensors in self.runs]

    def scales(self, index: int) -> Array:
        return np.asarray(self.graph.tensors[index].quantization.scale, np.float64)

    def zero_points(self, index: int) -> Array:
        return np.asarray(self.graph.tensors[index].quantization.zeroPoint)


@dataclass(frozen=True)
class FloatLayer:
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def float_layers(compressed: Path) -> list[FloatLayer]:
    model = graph.parse((compressed / "vision.tflite").read_bytes())
    subgraph = model.subgraphs[0]
    return [
        FloatLayer(*(graph.floats(model, subgraph, index) for index in op.inputs[1:]))
        for name, op in graph.operators(model, subgraph)
        if name in graph.WEIGHTED
    ]


def test_float16_constants_are_the_nearest_halves_to_even(compressed: Path, float_layers: list[FloatLayer]) -> None:
    ran = Ran(compressed, "float16")
    widened = [op for _, op in ran.operators("DEQUANTIZE")]
    assert len(widened) >= len(float_layers)
    for layer, (_, op) in zip(float_layers, ran.operators(*graph.WEIGHTED), strict=True):
        used = ran.runs[0][op.inputs[1]]
        assert used.dtype == np.float32
        assert np.array_equal(used, layer.weights.astype(np.float16).astype(np.float32)), "numpy rounds halves to even"
    stored = [ran.runs[0][op.inputs[0]] for op in widened]
    assert {values.dtype for values in stored} == {np.dtype(np.float16)}


def test_weight_only_weights_are_int8_by_the_channel_and_widened_exactly(
    compressed: Path, float_layers: list[FloatLayer]
) -> None:
    ran = Ran(compressed, "weight-only-int8")
    for layer, (name, op) in zip(float_layers, ran.operators(*graph.WEIGHTED), strict=True):
        axis = graph.CHANNEL_AXIS[name]
        scales = affine.weight_scales(layer.weights, axis)
        stored = affine.quantize_weights(layer.weights, scales, axis)
        assert np.array_equal(ran.runs[0][op.inputs[1]], stored * _along(scales, axis, stored.ndim))
        assert np.array_equal(ran.runs[0][op.inputs[2]], layer.bias), "biases stay float32"


def test_dynamic_layers_quantize_what_comes_and_accumulate_in_integers(
    compressed: Path, float_layers: list[FloatLayer]
) -> None:
    ran = Ran(compressed, "dynamic")
    for layer, (name, op) in zip(float_layers, ran.operators(*graph.WEIGHTED), strict=True):
        axis = None if name == "FULLY_CONNECTED" else graph.CHANNEL_AXIS[name]
        scales = affine.weight_scales(layer.weights, axis)
        stored = affine.quantize_weights(layer.weights, scales, axis)
        assert np.array_equal(ran.runs[0][op.inputs[1]], stored)
        assert np.allclose(ran.scales(op.inputs[1]), scales, rtol=1e-6)
        for x, found in ran.outputs(op):
            steps = affine.activation_quantization(float(x.min()), float(x.max()))
            centred = affine.quantize(x, steps).astype(np.int64) - steps.zero_point
            real = _accumulate(name, op, centred, stored) * (steps.scale * scales.astype(np.float64)) + layer.bias
            expected = np.maximum(real, 0) if op.builtinOptions.fusedActivationFunction == RELU else real
            error = np.abs(found - expected)
            step = steps.scale * np.abs(layer.weights).max()
            assert error.max() <= 1.01 * step, "kernels divide in float32: now and then one input is a step away"
            assert (error > 1e-5 * np.abs(expected).max()).mean() < 0.05, name


def test_int16x8_is_symmetric_with_scales_of_the_recorded_range(compressed: Path) -> None:
    ran = Ran(compressed, "int16x8")
    recorded = graph.parse((compressed / "vision.calibrated").read_bytes()).subgraphs[0]
    ranges = {tensor.name: tensor.quantization for tensor in recorded.tensors if tensor.quantization is not None}
    sixteen = [tensor for tensor in ran.graph.tensors if tensor.type == graph.code("TensorType", "INT16")]
    compared = 0
    for tensor in sixteen:
        assert int(tensor.quantization.zeroPoint[0]) == 0
        seen = ranges.get(tensor.name)
        if seen is not None and seen.min is not None and b"Relu" in tensor.name:
            largest = max(-float(seen.min[0]), float(seen.max[0]))
            assert float(tensor.quantization.scale[0]) == pytest.approx(largest / 32767.5, rel=1e-5)
            compared += 1
    assert compared >= 3
    softmax = ran.operators("SOFTMAX")[0][1]
    assert ran.scales(softmax.outputs[0])[0] == 2.0**-15


def test_int16x8_layers_accumulate_and_requantize_within_a_step(
    compressed: Path, float_layers: list[FloatLayer]
) -> None:
    ran = Ran(compressed, "int16x8")
    for layer, (name, op) in zip(float_layers, ran.operators(*graph.WEIGHTED), strict=True):
        axis = graph.CHANNEL_AXIS[name]
        scales = affine.weight_scales(layer.weights, axis)
        given, answer = (ran.scales(index)[0] for index in (op.inputs[0], op.outputs[0]))
        weights, bias = (ran.runs[0][index] for index in op.inputs[1:])
        assert np.array_equal(weights, affine.quantize_weights(layer.weights, scales, axis))
        assert bias.dtype == np.int64
        assert np.allclose(bias, affine.round_half_away(layer.bias / (given * scales.astype(np.float64))), atol=1)
        for x, found in ran.outputs(op):
            total = _accumulate(name, op, x.astype(np.int64), weights) + bias
            lowest = 0 if op.builtinOptions.fusedActivationFunction == RELU else -32768
            expected = np.clip(total * (given * ran.scales(op.inputs[1]) / answer), lowest, 32767)
            assert np.abs(found - expected).max() <= 1.5, name


def test_mixed_keeps_named_layers_as_they_were_and_quantizes_between(
    compressed: Path, float_layers: list[FloatLayer]
) -> None:
    ran = Ran(compressed, "mixed")
    layers = ran.operators(*graph.WEIGHTED)
    types = [ran.runs[0][op.inputs[1]].dtype for _, op in layers]
    assert types == [np.float32] * 2 + [np.int8] * (len(layers) - 2)
    for layer, (_, op) in zip(float_layers[:2], layers[:2], strict=True):
        assert np.array_equal(ran.runs[0][op.inputs[1]], layer.weights)
        assert np.array_equal(ran.runs[0][op.inputs[2]], layer.bias)
    for tensors, source, target, steps in _conversions(ran, "QUANTIZE"):
        assert np.abs(affine.quantize(tensors[source], steps).astype(int) - tensors[target]).max() <= 1
    for tensors, source, target, steps in _conversions(ran, "DEQUANTIZE"):
        assert np.array_equal(affine.dequantize(tensors[source], steps), tensors[target])


def test_float_ends_only_wrap_the_integers(answers: Callable[[str], Path]) -> None:
    directory = answers("vision")
    with (
        np.load(directory / "vision-int8.tflite-runtime.npz") as integer,
        np.load(directory / "vision-int8-float-io.tflite-runtime.npz") as real,
    ):
        assert np.array_equal(integer["plain_0"], real["plain_0"])


def _conversions(ran: Ran, name: str) -> Iterator[tuple[dict[int, Array], int, int, Quantization]]:
    for _, op in ran.operators(name):
        source, target = op.inputs[0], op.outputs[0]
        narrow = target if name == "QUANTIZE" else source
        steps = Quantization(scale=float(ran.scales(narrow)[0]), zero_point=int(ran.zero_points(narrow)[0]))
        for tensors in ran.runs:
            yield tensors, source, target, steps


def _accumulate(name: str, op: Any, centred: Array, weights: Array) -> Array:
    """The sums of products, for inputs from which the zero point was taken: what padding adds is 0."""
    if name == "FULLY_CONNECTED":
        return centred.reshape(-1, weights.shape[1]) @ weights.astype(np.int64).T
    height, width = weights.shape[1:3]
    stride = op.builtinOptions.strideH
    count = -(-centred.shape[1] // stride)
    missing = max((count - 1) * stride + height - centred.shape[1], 0) if op.builtinOptions.padding == 0 else 0
    margin = (missing // 2, missing - missing // 2)
    padded = np.pad(centred, ((0, 0), margin, margin, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))[:, ::stride, ::stride]
    if name == "DEPTHWISE_CONV_2D":
        return np.einsum("nyxchw,hwc->nyxc", windows, weights[0].astype(np.int64))
    return np.einsum("nyxchw,ohwc->nyxo", windows, weights.astype(np.int64))


def _along(scales: Array, axis: int, ndim: int) -> Array:
    shape = [1] * ndim
    shape[axis] = -1
    return scales.reshape(shape)
