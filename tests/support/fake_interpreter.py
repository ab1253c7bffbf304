"""An interpreter whose arithmetic is a Python function, for tests of what is around it."""

from collections.abc import Callable, Sequence

import numpy as np

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import Quantization, TensorSpec

INPUT = TensorSpec(name="x", shape=(1, 4), dtype="int8", quantization=Quantization(scale=0.5, zero_point=-1))
OUTPUT = TensorSpec(name="scores", shape=(1, 4), dtype="int8", quantization=Quantization(scale=0.25, zero_point=3))


def echo(x: Tensor) -> Tensor:
    return x.copy()


class FakeInterpreter:
    """One input, one output: `compute` of the input, by default the input itself."""

    version = "1.2.3"

    def __init__(
        self,
        compute: Callable[[Tensor], Tensor] = echo,
        inputs: tuple[TensorSpec, ...] = (INPUT,),
        outputs: tuple[TensorSpec, ...] = (OUTPUT,),
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._compute = compute
        self.ran = 0

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        self.ran += 1
        return [np.asarray(self._compute(inputs[0]))]
