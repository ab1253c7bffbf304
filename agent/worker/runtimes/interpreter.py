"""What the worker asks of a runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wherry.protocol.manifest import TensorSpec

Tensor = npt.NDArray[np.generic]
"""Of the shape and type of its tensor spec."""


class Interpreter(Protocol):
    """A loaded model, for one thread. `inputs` and `outputs` are as the file says, in its order."""

    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Set every input, invoke, and copy every output out."""


class Loader(Protocol):
    """Builds an interpreter for the model file at `path` that computes with `threads` threads."""

    def __call__(self, path: Path, threads: int) -> Interpreter: ...
