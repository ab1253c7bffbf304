"""What the two ways to a worker have in common: how a request fails, and how tensors become bytes and are read."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from wherry.agent.client.answer import Answer
from wherry.agent.client.frames import Hello
from wherry.agent.worker.fit import fit, is_stored
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

Buffer = bytes | bytearray | memoryview


class Unread(Exception):
    """Nobody read the request, or nobody can be reached now: it can be sent again without a thought."""


class Broken(Exception):
    """The connection ended after the request had been sent, and before it was answered: perhaps because of it."""


class Link(Protocol):
    """One connection to one worker. `moved` once the worker has said that it gives way to another."""

    hello: Hello
    moved: bool

    def limit(self, wait_s: float) -> None:
        """Of each wait from now on."""

    def ask(self, inputs: Sequence[Tensor], label: int) -> Answer:
        """Raises Refused, ModelFailed, NotServed, Unread or Broken."""

    def close(self) -> None:
        """More than once is harmless."""


class Stored:
    """How arrays become an input's bytes. What has the right type, shape and order already is not touched."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec, self._shape = spec, spec.shape
        self._dtype = np.dtype(spec.dtype) if is_stored(np.dtype(spec.dtype), spec) else None

    def ready(self, array: Tensor) -> memoryview:
        """In C order, so that it is the input's bytes. Raises Unfit."""
        if array.dtype == self._dtype and array.shape == self._shape and array.flags.c_contiguous:
            return array.data
        return fit(array, self._spec).data


class Laid:
    """Tensors that lie one after the other in a buffer. Worked out once, as it is done for every answer."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.size = sum(spec.size_bytes for spec in specs)
        self._places: list[tuple[tuple[int, ...], np.dtype[np.generic], int]] = []
        offset = 0
        for spec in specs:
            self._places.append((spec.shape, np.dtype(spec.dtype), offset))
            offset += spec.size_bytes

    def read(self, data: Buffer, start: int) -> list[Tensor]:
        """Views into `data`, from `start` on."""
        return [np.ndarray(shape, dtype, data, start + offset) for shape, dtype, offset in self._places]
