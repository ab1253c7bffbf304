"""The interface that tflite-runtime and LiteRT share, which both have from TensorFlow Lite."""

from collections.abc import Sequence
from typing import Any, cast, get_args

import numpy as np

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import DType, Quantization, TensorSpec

Details = dict[str, Any]
"""How these runtimes describe a tensor."""


class TfliteInterpreter:
    """Wraps `native`, an `Interpreter` of either package, whose tensors this allocates.

    Raises ValueError or RuntimeError where the runtime cannot run the model, or where the model
    has tensors of a type that the protocol does not know.
    """

    def __init__(self, native: Any, version: str) -> None:
        native.allocate_tensors()
        self.version = version
        self._native = native
        inputs, outputs = native.get_input_details(), native.get_output_details()
        self.inputs = tuple(tensor_spec(details) for details in inputs)
        self.outputs = tuple(tensor_spec(details) for details in outputs)
        self._input_indices = [details["index"] for details in inputs]
        self._output_indices = [details["index"] for details in outputs]

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Set every input, invoke, and copy every output out."""
        for index, tensor in zip(self._input_indices, inputs, strict=True):
            self._native.set_tensor(index, tensor)
        self._native.invoke()
        return [self._native.get_tensor(index) for index in self._output_indices]


def tensor_spec(details: Details) -> TensorSpec:
    """The protocol's description of a tensor; quantization only where it is one for the whole tensor."""
    dtype = np.dtype(details["dtype"]).name
    if dtype not in get_args(DType):
        raise ValueError(f"tensor {details['name']} is {dtype}, which is not supported")
    parameters = details["quantization_parameters"]
    quantization = None
    if len(parameters["scales"]) == 1:
        quantization = Quantization(scale=float(parameters["scales"][0]), zero_point=int(parameters["zero_points"][0]))
    return TensorSpec(
        name=details["name"],
        shape=tuple(int(length) for length in details["shape"]),
        dtype=cast(DType, dtype),
        quantization=quantization,
    )
