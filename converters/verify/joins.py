"""Inputs of one CONCATENATION whose ranges are so far apart that one scale cannot serve both.

A quantized CONCATENATION has one scale for everything. Where boxes in pixels are joined with scores from 0 to 1, the
scores keep less than one step of 255 and are lost, whatever the calibration.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from wherry.converters.flatbuffer import builtin_code, indices, shape, text
from wherry.protocol.types import Struct

APART = 50.0
"""At 50-fold the smaller range has five steps of 255 left."""

_STEPS = 255

Span = tuple[float, float]


class Part(Struct, frozen=True, kw_only=True):
    """One input, with the range that it was seen in."""

    tensor: str
    low: float
    high: float


class Join(Struct, frozen=True, kw_only=True):
    """A CONCATENATION, its inputs from the narrowest range to the widest, and how many times wider the latter is."""

    tensor: str
    parts: tuple[Part, ...]
    ratio: float
    sentence: str


def uneven(model: Any, ranges: Mapping[str, Span], layers: Mapping[str, str] | None = None) -> tuple[Join, ...]:
    """CONCATENATIONs of a float file whose input ranges differ by APART or more; inputs without a range are left out.

    `ranges`: least and greatest value by tensor name, from calibration. `layers` gives source layers to tensor names.
    """
    from ai_edge_litert import schema_py_generated as schema

    found = []
    for graph in model.subgraphs:
        for op in graph.operators or ():
            if builtin_code(model.operatorCodes[op.opcodeIndex]) == schema.BuiltinOperator.CONCATENATION:
                spans = {index: _span(model, graph.tensors[index], ranges) for index in indices(op.inputs)}
                parts = [
                    Part(tensor=text(graph.tensors[index].name), low=span[0], high=span[1])
                    for index, span in spans.items()
                    if span is not None and _width(span) > 0
                ]
                found += _judge(text(graph.tensors[op.outputs[0]].name), parts, layers or {})
    return tuple(found)


def _judge(tensor: str, parts: list[Part], layers: Mapping[str, str]) -> list[Join]:
    parts = sorted(parts, key=lambda part: _width((part.low, part.high)))
    if len(parts) < 2:
        return []
    narrow, wide = parts[0], parts[-1]
    ratio = _width((wide.low, wide.high)) / _width((narrow.low, narrow.high))
    if ratio < APART:
        return []
    sentence = (
        f"{layers.get(tensor, tensor)} joins {_said(wide, layers)} with {_said(narrow, layers)}: under one scale the "
        f"latter keeps {_STEPS / ratio:.2g} of {_STEPS} steps; bring both to like ranges in the model, or give "
        "each out as an output of its own"
    )
    return [Join(tensor=tensor, parts=tuple(parts), ratio=round(ratio, 3), sentence=sentence)]


def _span(model: Any, tensor: Any, ranges: Mapping[str, Span]) -> Span | None:
    """As calibrated; of a constant, its own."""
    name = text(tensor.name)
    if name in ranges:
        return ranges[name]
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != 0 or not prod(shape(tensor)):
        return None
    values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32)
    return float(values.min()), float(values.max())


def _width(span: Span) -> float:
    """Of the quantized range, which always holds zero."""
    return max(span[1], 0.0) - min(span[0], 0.0)


def _said(part: Part, layers: Mapping[str, str]) -> str:
    return f"{layers.get(part.tensor, part.tensor)} ({part.low:.3g} to {part.high:.3g})"
