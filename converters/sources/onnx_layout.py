"""Which axes of an ONNX graph went where on the way to TFLite.

Rules upheld here:
- An input is taken for pictures or signals, channels first, only where it reaches a convolution or a pooling
  through operators that leave the meaning of axes alone.
- Where an output's axes went is found by computing: of all permutations with the right shape, the one whose
  numbers agree best with what the source gives for the same random input.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.model import End

Array = npt.NDArray[Any]

_SPATIAL = {
    "Conv", "ConvTranspose", "FusedConv", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool",
    "BatchNormalization", "InstanceNormalization", "GroupNormalization", "Resize", "Upsample", "DepthToSpace",
    "SpaceToDepth", "LRN",
}  # fmt: skip
_SAME_AXES = {
    "Abs", "Add", "Cast", "Clip", "Concat", "Div", "Dropout", "Elu", "Exp", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Log", "Max", "Min", "Mul", "Neg", "PRelu", "Pad", "Pow", "QuantizeLinear", "DequantizeLinear",
    "Relu", "Round", "Sigmoid", "Slice", "Split", "Sqrt", "Sub", "Tanh",
}  # fmt: skip
EXACT_DB = 200.0


def channels_first(graph: Any) -> set[str]:
    """Names of the inputs with channels second, of rank 3 to 5."""
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return {
        value.name
        for value in graph.input
        if 3 <= len(value.type.tensor_type.shape.dim) <= 5 and _is_spatial(value.name, users)
    }


def channels_last(rank: int) -> tuple[int, ...]:
    """The permutation from channels second to channels last."""
    return (0, *range(2, rank), 1)


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.argsort(axes))


def turned(end: End, value: Array) -> Array:
    """`value` in the source's layout, as the float TFLite takes or gives it."""
    return value.transpose(end.axes) if end.axes else value


def find_axes(source: Array, converted: Array) -> tuple[tuple[int, ...], float] | None:
    """The permutation from the source's output to the converted one, and its SNR in dB; None where none fits.
    The identity is (), and wins where others are as good."""
    if source.ndim != converted.ndim or source.ndim > 6:
        return None
    best: tuple[tuple[int, ...], float] | None = None
    for axes in permutations(range(source.ndim)):
        if tuple(source.shape[axis] for axis in axes) != converted.shape:
            continue
        db = snr_db(source.transpose(axes), converted)
        if best is None or db > best[1] + 0.1:
            best = axes, db
    if best is None:
        return None
    same = best[0] == tuple(range(source.ndim))
    return (() if same else best[0]), best[1]


def snr_db(wanted: Array, found: Array) -> float:
    """Signal to noise in dB, over the values that are finite in both; EXACT_DB at most."""
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return -EXACT_DB
    noise, signal = float(np.sum((a[finite] - b[finite]) ** 2)), float(np.sum(a[finite] ** 2))
    if noise == 0:
        return EXACT_DB
    return max(-EXACT_DB, min(EXACT_DB, 10 * float(np.log10(max(signal, 1e-30) / noise))))


def _is_spatial(name: str, users: dict[str, list[Any]]) -> bool:
    seen, stack = {name}, [name]
    while stack:
        current = stack.pop()
        for node in users.get(current, ()):
            if node.op_type in _SPATIAL and node.input[0] == current:
                return True
            if node.op_type in _SAME_AXES:
                new = [output for output in node.output if output and output not in seen]
                seen.update(new)
                stack += new
    return False
