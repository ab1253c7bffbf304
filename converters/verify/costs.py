"""What a file costs to run: multiplications, weights, and memory for activations.

Rules upheld here:
- Multiply-accumulates are those of the layers named in `_MACS`; elementwise work is not counted. The body of a
  loop counts once, since the file does not say how often it runs (`loops`).
- Weights that a DEQUANTIZE brings to float (float16 and weight-only files) belong to the layer that uses them.
  A buffer that several layers share counts for each of them, and once in all.
- `arena_planned` is an estimate: it plans as TFLite does (`arena_planner.cc`: largest first, into the smallest gap
  that is free all the time, in steps of 64 bytes), but knows nothing of the scratch memory of kernels, nor which
  of them work in place. `live.arena_measured` measures it.
"""

from collections.abc import Callable
from math import prod
from typing import Any

from wherry.converters.flatbuffer import builtin_code, builtin_names, indices, shape, text, type_names
from wherry.converters.verify.signature import Signature, scales
from wherry.protocol.types import Count, Struct

_ALIGNMENT = 64
_BITS = {
    "FLOAT32": 32, "INT32": 32, "UINT32": 32, "FLOAT16": 16, "BFLOAT16": 16, "INT16": 16, "UINT16": 16, "INT64": 64,
    "UINT64": 64, "FLOAT64": 64, "COMPLEX64": 64, "COMPLEX128": 128, "INT4": 4, "UINT4": 4, "INT2": 2,
}  # fmt: skip
"""Every other type has 8."""

_REAL = {"FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64"}
_PASSED_ON = {"DEQUANTIZE", "DENSIFY"}

Block = tuple[int, int]
"""Where a tensor begins and ends."""


class OpCost(Struct, frozen=True, kw_only=True):
    """One operator; `output` is the name of its first output. Weights are all constants that are learnt."""

    name: str
    output: str
    macs: Count = 0
    parameters: Count = 0
    weight_bytes: Count = 0


class Costs(Struct, frozen=True, kw_only=True):
    """A whole file. `loops`: some operators run more often than they were counted."""

    operators: tuple[OpCost, ...]
    macs: Count
    parameters: Count
    weight_bytes: Count
    arena_planned_bytes: Count
    loops: bool = False


def costs(model: Any) -> Costs:
    """Of a parsed file."""
    found: list[OpCost] = []
    total: dict[int, tuple[int, int]] = {}
    for graph in model.subgraphs:
        names = [builtin_names()[builtin_code(model.operatorCodes[op.opcodeIndex])] for op in graph.operators or ()]
        weights = _Weights(model, graph, names)
        for op, name in zip(graph.operators or (), names, strict=True):
            own = {} if name in _PASSED_ON else weights.of(op)
            total |= own
            macs = _MACS.get(name)
            parameters, size = _sums(own)
            found.append(
                OpCost(
                    name=name,
                    output=next((text(graph.tensors[index].name) for index in indices(op.outputs)), ""),
                    macs=macs(Signature(graph, op)) if macs else 0,
                    parameters=parameters,
                    weight_bytes=size,
                )
            )
    parameters, size = _sums(total)
    return Costs(
        operators=tuple(found),
        macs=sum(op.macs for op in found),
        parameters=parameters,
        weight_bytes=size,
        arena_planned_bytes=arena_planned(model),
        loops=any(op.name in ("WHILE", "CALL_ONCE") for op in found),
    )


def arena_planned(model: Any) -> int:
    """Bytes that the activations of the main subgraph need, by a plan like that of TFLite."""
    graph = model.subgraphs[0]
    last = len(graph.operators or ())
    lives: dict[int, Block] = dict.fromkeys(indices(graph.inputs), (0, last))
    for at, op in enumerate(graph.operators or ()):
        for index in indices(op.outputs):
            lives.setdefault(index, (at, at))
        for index in indices(op.inputs):
            if index in lives:
                lives[index] = (lives[index][0], max(lives[index][1], at))
    for index in indices(graph.outputs):
        if index in lives:
            lives[index] = (lives[index][0], last)
    sizes = {index: _tensor_bytes(graph.tensors[index]) for index in lives}
    # What lives from end to end comes first, the rest by size.
    order = sorted(lives, key=lambda index: (lives[index] != (0, last), -sizes[index], index))
    placed: list[tuple[Block, Block]] = []
    for index in order:
        taken = sorted(block for block, life in placed if _overlap(life, lives[index]))
        start = _smallest_gap(taken, sizes[index])
        placed.append(((start, start + sizes[index]), lives[index]))
    return max((block[1] for block, _ in placed), default=0)


class _Weights:
    """Constants of a subgraph, seen through the operators that only bring them to float."""

    def __init__(self, model: Any, graph: Any, names: list[str]) -> None:
        self._model, self._graph = model, graph
        self._source = {
            output: indices(op.inputs)[0]
            for op, name in zip(graph.operators or (), names, strict=True)
            if name in _PASSED_ON
            for output in indices(op.outputs)
        }

    def of(self, op: Any) -> dict[int, tuple[int, int]]:
        """Elements and bytes of the learnt constants that the operator reads, by buffer."""
        found = {}
        for index in indices(op.inputs):
            tensor = self._graph.tensors[self._source.get(index, index)] if index >= 0 else None
            size = 0 if tensor is None else self._stored_bytes(tensor)
            if tensor is not None and size and _is_learnt(tensor):
                found[int(tensor.buffer)] = (prod(shape(tensor)), size)
        return found

    def _stored_bytes(self, tensor: Any) -> int:
        buffer = self._model.buffers[tensor.buffer]
        return len(buffer.data) if buffer.data is not None else int(buffer.size or 0)


def _sums(constants: dict[int, tuple[int, int]]) -> tuple[int, int]:
    return sum(elements for elements, _ in constants.values()), sum(size for _, size in constants.values())


def _is_learnt(tensor: Any) -> bool:
    """Shapes, axes and paddings are integers without a scale."""
    return bool(scales(tensor)) or type_names()[tensor.type] in _REAL


def _tensor_bytes(tensor: Any) -> int:
    bits = prod(shape(tensor)) * _BITS.get(type_names()[tensor.type], 8)
    return (bits + 7) // 8


def _overlap(a: Block, b: Block) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _smallest_gap(taken: list[Block], size: int) -> int:
    """Where `size` bytes leave the least room unused between the sorted blocks `taken`; else behind them."""
    best, waste, free = -1, 0, 0
    for low, high in taken:
        left = low - free - size
        if left >= 0 and (best < 0 or left < waste):
            best, waste = free, left
        free = max(free, _aligned(high))
    return best if best >= 0 else free


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _conv_macs(op: Signature) -> int:
    """Weights [out, height, width, in]."""
    return _output_elements(op) * prod(op.shape(1)[1:])


def _depthwise_macs(op: Signature) -> int:
    """Weights [1, height, width, channels]."""
    return _output_elements(op) * prod(op.shape(1)[1:3])


def _transpose_conv_macs(op: Signature) -> int:
    """Weights [out, height, width, in]; each input value is spread over all of them."""
    return prod(op.shape(2)) * prod(op.shape(1)[:3])


def _conv_3d_macs(op: Signature) -> int:
    """Weights [depth, height, width, in, out]."""
    return _output_elements(op) * prod(op.shape(1)[:4])


def _dense_macs(op: Signature) -> int:
    """Weights [out, in]."""
    return _output_elements(op) * (op.shape(1)[-1] if op.rank(1) else 0)


def _matmul_macs(op: Signature) -> int:
    """Left [..., rows, inner], or the other way round if `adjX`."""
    inner = op.shape(0)[-2 if op.option("adjX") else -1] if op.rank(0) >= 2 else 0
    return _output_elements(op) * inner


def _lstm_macs(op: Signature) -> int:
    """Eight matrices at 1 to 8 and a projection at 16, once a step and sample."""
    steps = prod(op.shape(0)[:-1])
    return steps * sum(prod(op.shape(at)) for at in (*range(1, 9), 16) if op.rank(at) == 2)


def _output_elements(op: Signature) -> int:
    tensor = op.output(0)
    return 0 if tensor is None else prod(shape(tensor))


_MACS: dict[str, Callable[[Signature], int]] = {
    "BATCH_MATMUL": _matmul_macs,
    "CONV_2D": _conv_macs,
    "CONV_3D": _conv_3d_macs,
    "DEPTHWISE_CONV_2D": _depthwise_macs,
    "FULLY_CONNECTED": _dense_macs,
    "TRANSPOSE_CONV": _transpose_conv_macs,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm_macs,
}
