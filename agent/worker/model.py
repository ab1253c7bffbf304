"""A loaded model that has been shown to be the one that the manifest describes, and its latency."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from msgspec.structs import replace

from wherry.agent.worker.errors import OrderRefused
from wherry.agent.worker.messages import Load
from wherry.agent.worker.runtimes.interpreter import Interpreter, Tensor
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.runtime import Family

LoadInterpreter = Callable[[Family, Path, int], Interpreter]

_SCALE_ACCURACY = 1e-6
"""A scale is a float32 in the file; the manifest may hold it with more or fewer digits."""


class Model:
    """An interpreter that is warm, with the time of each run.

    `inputs` and `outputs` are as the file says, with what only the manifest can say about `inputs`: names as in the
    source, layout and preprocessing. `last_ms` is how long the last run took, at first of the warm-up.
    """

    def __init__(self, family: Family, interpreter: Interpreter, said: Sequence[TensorSpec] | None = None) -> None:
        self.family = family
        self.version = interpreter.version
        self.outputs = interpreter.outputs
        self.inputs = tuple(map(_joined, said, interpreter.inputs)) if said else interpreter.inputs
        self.last_ms = math.inf
        self._interpreter = interpreter

    def run(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], float]:
        """The outputs, and the milliseconds from setting the inputs until the outputs were copied."""
        start = perf_counter()
        outputs = self._interpreter.run(inputs)
        self.last_ms = (perf_counter() - start) * 1e3
        return outputs, self.last_ms


def load_model(order: Load, file: int, load: LoadInterpreter) -> Model:
    """Load and warm up the open `file`, the caller's to close. Raises OrderRefused where it is not as `order` says."""
    try:
        interpreter = load(order.family, Path(f"/proc/self/fd/{file}"), order.threads)
        _check("input", order.inputs, interpreter.inputs)
        _check("output", order.outputs, interpreter.outputs)
        model = Model(order.family, interpreter, order.inputs)
        zeros = [np.zeros(spec.shape, spec.dtype) for spec in model.inputs]
        for _ in range(order.warm_up):
            model.run(zeros)
    except OrderRefused:
        raise
    except Exception as error:
        raise OrderRefused(f"{order.family} cannot run the model: {type(error).__name__}: {error}") from error
    return model


def _check(kind: str, expected: Sequence[TensorSpec], actual: Sequence[TensorSpec]) -> None:
    if len(expected) != len(actual):
        raise OrderRefused(f"the file has {len(actual)} {kind}s, the manifest {len(expected)}")
    if not actual:
        raise OrderRefused(f"the file has no {kind}s")
    for number, (want, got) in enumerate(zip(expected, actual, strict=True)):
        if not _same(want, got):
            raise OrderRefused(f"{kind} {number} is {describe(got)} in the file and {describe(want)} in the manifest")


def _same(want: TensorSpec, got: TensorSpec) -> bool:
    if (want.shape, want.dtype) != (got.shape, got.dtype):
        return False
    if want.dtype.startswith("float"):
        return True  # some converters leave a meaningless scale on float tensors
    if want.quantization is None or got.quantization is None:
        return want.quantization is got.quantization
    near = abs(want.quantization.scale - got.quantization.scale) <= _SCALE_ACCURACY * got.quantization.scale
    return near and want.quantization.zero_point == got.quantization.zero_point


def _joined(said: TensorSpec, found: TensorSpec) -> TensorSpec:
    return replace(found, name=said.name, layout=said.layout, preprocessing=said.preprocessing)


def describe(spec: TensorSpec) -> str:
    """`int8 [1, 28, 28, 1] (scale 0.0039, zero point -128)`."""
    text = f"{spec.dtype} {list(spec.shape)}"
    if spec.quantization is None:
        return text
    return f"{text} (scale {spec.quantization.scale:.8g}, zero point {spec.quantization.zero_point})"
