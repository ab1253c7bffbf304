"""The real worker, whose runtime misbehaves as the end of the model's file says: see `Oddity`.

A TFLite file may have anything behind it, so the digest of what misbehaves is its own and its golden vectors are right.
"""

import ctypes
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from wherry.agent.worker import __main__ as worker
from wherry.agent.worker import runtimes
from wherry.agent.worker.runtimes.interpreter import Interpreter, Tensor
from wherry.agent.worker.selftest import ENOUGH_RUNS
from wherry.protocol.runtime import Family

Oddity = Literal["slow", "leaking", "nan", "crashing", "crashing-early"]
MARK = b"odd:"

SLOW_S = 0.1
LEAK_BYTES = 256 * 1024
WARM_UP = 3
BEGIN = WARM_UP + ENOUGH_RUNS
"""Calls before the first that serves somebody: warm-up and self-test."""

CRASHES: dict[Oddity, int] = {"crashing-early": 100, "crashing": BEGIN + 100}
"""At the hundredth call of all, which is in the self-test, or of those that serve."""


def tail(oddity: Oddity) -> bytes:
    """What is put behind the file of a model."""
    return MARK + oddity.encode()


class OddInterpreter:
    """A real one, and what is wrong with it."""

    def __init__(self, real: Interpreter, oddity: Oddity) -> None:
        self._real, self._oddity = real, oddity
        self.version, self.inputs, self.outputs = real.version, real.inputs, real.outputs
        self._calls = 0
        self._kept: list[bytearray] = []

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        self._calls += 1
        outputs = self._real.run(inputs)
        if self._oddity == "slow":
            time.sleep(SLOW_S)
        if self._oddity == "leaking":
            self._kept.append(bytearray(os.urandom(4096) * (LEAK_BYTES // 4096)))
        if self._calls == CRASHES.get(self._oddity):
            ctypes.string_at(0)  # a signal sent to oneself would be refused by the sandbox
        if self._oddity == "nan" and self._calls > BEGIN:
            return [np.full(output.shape, np.nan, np.float32) for output in outputs]
        return outputs


def load(family: Family, path: Path, threads: int) -> Interpreter:
    end = path.read_bytes()[-64:]
    real = _load(family, path, threads)
    oddity = next((name for name in get_args(Oddity) if end.endswith(tail(name))), None)
    return real if oddity is None else OddInterpreter(real, oddity)


if __name__ == "__main__":
    _load = runtimes.load
    runtimes.load = load
    sys.exit(worker.main())
