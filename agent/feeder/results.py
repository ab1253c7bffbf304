"""Where the answers go: a line of JSON for each, to every sink that the configuration names.

Rules upheld here:
- No sink holds up the feed: each is bounded, and what it cannot take is dropped and told.
- A line has all that it needs: the time, who answered, what, how long it took, and where the sample was from.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.agent.client import Answer
from wherry.agent.feeder.samples import Sample

TOP = 3
SMALL = 64
"""Numbers of an output that is given as it is; of a larger one only the shape."""

_encoder = msgspec.json.Encoder()


class Sink(Protocol):
    """`trouble` says why lines are not taken, and is empty where they are."""

    trouble: str

    def put(self, line: bytes) -> bool:
        """Take a line without its end; whether there was room for it. Never waits."""

    def take_dropped(self) -> int:
        """How many were dropped after they had been taken, since this was asked last."""

    def close(self) -> None: ...


def line(sample: Sample, answer: Answer, wall_s: float) -> bytes:
    """Of an answer."""
    told = {"time": round(wall_s, 3), "model": answer.model, "version": answer.version}
    return _encoder.encode(told | _said(answer) | {"latency_ms": round(answer.latency_ms, 3)} | _where(sample))


def line_of_failure(sample: Sample, reason: str, wall_s: float) -> bytes:
    """Of a sample that the model gave no answer to."""
    return _encoder.encode({"time": round(wall_s, 3), "error": reason} | _where(sample))


def _where(sample: Sample) -> dict[str, Any]:
    label = {} if sample.label is None else {"label": sample.label}
    return {**label, "source": sample.origin}


def _said(answer: Answer) -> dict[str, Any]:
    first = next(iter(answer.outputs.values()))
    if first.shape[-1:] >= (2,) and first.size == first.shape[-1]:
        return {
            "top": [{"label": one.label, "index": one.index, "score": _short(one.score)} for one in answer.top(TOP)]
        }
    return {"outputs": {name: _output(output) for name, output in answer.outputs.items()}}


def _output(output: npt.NDArray[np.float32]) -> Mapping[str, Any] | list[Any]:
    if output.size <= SMALL:
        values: list[Any] = np.vectorize(_short, otypes=[object])(output).tolist()
        return values
    return {"shape": [*output.shape]}


def _short(value: float) -> float:
    """With the digits that a float32 has."""
    return float(f"{value:.7g}")
