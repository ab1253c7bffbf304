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

    def ask(self, inputs: Sequence[Tensor], label: int) -> Answer:
        """Raises Refused, ModelFailed, NotServed, Unread or Broken."""

    def close(self) -> None:
        """More than once is harmless."""


class Stored:
    """How arrays become an input's bytes. What has the right type, shape and order already is not touched."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._dtype = np.dtype(spec.dtype) if is_stored(np.dtype(spec.dtype), spec) else None

    def bytes_of(self, array: Tensor) -> memoryview:
        """Raises Unfit."""
        ready = array.dtype == self._dtype and array.shape == self._spec.shape and array.flags.c_contiguous
        return (array if ready else fit(array, self._spec)).data.cast("B")


def outputs_in(data: Buffer, offset: int, specs: Sequence[TensorSpec]) -> list[Tensor]:
    """The arrays that lie one after the other from `offset` on."""
    found: list[Tensor] = []
    for spec in specs:
        dtype = np.dtype(spec.dtype)
        found.append(np.frombuffer(data, dtype, spec.size_bytes // dtype.itemsize, offset).reshape(spec.shape))
        offset += spec.size_bytes
    return found
