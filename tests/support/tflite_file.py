"""Looks inside of `.tflite` files: layers with their stored numbers, and every tensor of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.verify import operators

Array = npt.NDArray[Any]
_STORED = {0: np.float32, 2: np.int32, 9: np.int8}


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer. `input` and `output` are tensor indices."""

    operator: str
    input: int
    output: int
    weights: Array
    bias: Array
    scales: Array | None
    stride: int


class TfliteFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._model = operators.parse(path.read_bytes())
        self._graph = self._model.subgraphs[0]

    @property
    def layers(self) -> list[Layer]:
        """The layers that have weights, in order."""
        return [self._layer(op) for op in self._graph.operators if len(op.inputs) == 3]

    def quantization(self, index: int) -> tuple[float, int]:
        stored = self._graph.tensors[index].quantization
        return float(stored.scale[0]), int(stored.zeroPoint[0])

    def run(self, x: Array, tensors: list[int]) -> list[Array]:
        """Each wanted tensor, [N, ...], for inputs [N, ...], by tflite-runtime's built-in kernels."""
        from tflite_runtime.interpreter import Interpreter, OpResolverType

        interpreter = Interpreter(
            str(self.path),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        found: list[list[Array]] = [[] for _ in tensors]
        for sample in x:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
            interpreter.invoke()
            for kept, index in zip(found, tensors, strict=True):
                kept.append(interpreter.get_tensor(index)[0])
        return [np.stack(kept) for kept in found]

    def _layer(self, op: Any) -> Layer:
        weights, bias = (self._stored(index) for index in op.inputs[1:])
        quantization = self._graph.tensors[op.inputs[1]].quantization
        return Layer(
            operator="CONV_2D" if hasattr(op.builtinOptions, "strideH") else "FULLY_CONNECTED",
            input=int(op.inputs[0]),
            output=int(op.outputs[0]),
            weights=weights,
            bias=bias,
            scales=None if quantization is None or quantization.scale is None else np.asarray(quantization.scale),
            stride=int(getattr(op.builtinOptions, "strideH", 1)),
        )

    def _stored(self, index: int) -> Array:
        tensor = self._graph.tensors[index]
        data = np.asarray(self._model.buffers[tensor.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, _STORED[tensor.type]).reshape(tensor.shape)
