"""Tiny int8 models, written with the TFLite schema alone: no TensorFlow, no training, the same bytes every time.

One dense layer, `[1, features] int8 → [1, classes] int8`, whose arithmetic `expected_steps` repeats in NumPy.
`python -m tests.support.tiny_model` prints the model that `agent/adapters/probe_model.py` holds.
"""

import base64
import textwrap
from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from wherry.protocol.manifest import Quantization, TensorSpec

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3


@dataclass(frozen=True)
class Dense:
    """Weights `[classes, features]` int8 in steps of `weight_scale`, no bias."""

    weights: npt.NDArray[np.int8]
    weight_scale: float = 1 / 64
    input: Quantization = field(default=Quantization(scale=1 / 32, zero_point=-3))
    output: Quantization = field(default=Quantization(scale=1 / 2, zero_point=5))

    @property
    def input_spec(self) -> TensorSpec:
        shape = (1, self.weights.shape[1])
        return TensorSpec(name="x", shape=shape, dtype="int8", quantization=self.input)

    @property
    def output_spec(self) -> TensorSpec:
        shape = (1, self.weights.shape[0])
        return TensorSpec(name="scores", shape=shape, dtype="int8", quantization=self.output)

    def expected_steps(self, x: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
        """Stored outputs of `x` `[N, features]`, before rounding: a kernel is within one step of it."""
        sums = (x.astype(np.int64) - self.input.zero_point) @ self.weights.T.astype(np.int64)
        multiplier = self.input.scale * self.weight_scale / self.output.scale
        return np.clip(sums * multiplier + self.output.zero_point, -128, 127)

    def file(self) -> bytes:
        """The model as a TFLite file."""
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model().Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _model(self) -> schema.ModelT:
        model = schema.ModelT()
        model.version = SCHEMA_VERSION
        model.description = "wherry tiny dense"
        model.operatorCodes = [_operator_code()]
        model.subgraphs = [self._graph()]
        model.buffers = [schema.BufferT(), schema.BufferT()]
        model.buffers[1].data = np.frombuffer(self.weights.tobytes(), np.uint8)
        return model

    def _graph(self) -> schema.SubGraphT:
        graph = schema.SubGraphT()
        weights = Quantization(scale=self.weight_scale, zero_point=0)
        graph.tensors = [
            _tensor("x", self.input_spec.shape, self.input, buffer=0),
            _tensor("weights", self.weights.shape, weights, buffer=1),
            _tensor("scores", self.output_spec.shape, self.output, buffer=0),
        ]
        graph.inputs, graph.outputs = [0], [2]
        graph.operators = [_operator()]
        return graph


def _operator_code() -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4  # the first with int8 and without a bias
    return code


def _operator() -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    return operator


def _tensor(name: str, shape: tuple[int, ...], quantization: Quantization, buffer: int) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
    tensor.type = schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = [quantization.scale]
    tensor.quantization.zeroPoint = [quantization.zero_point]
    return tensor


def random_dense(features: int, classes: int, seed: int = 0) -> Dense:
    weights = np.random.default_rng(seed).integers(-127, 128, (classes, features), dtype=np.int8)
    return Dense(weights)


def probe_dense() -> Dense:
    """The model that a device builds an interpreter for, to see whether a runtime works."""
    return Dense(np.array([[64, 0], [0, 64]], np.int8))


if __name__ == "__main__":
    print("\n".join(textwrap.wrap(base64.b64encode(probe_dense().file()).decode(), 100)))  # noqa: T201 - its purpose
