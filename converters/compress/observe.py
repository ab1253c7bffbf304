"""Runs `.tflite` files in this process, by LiteRT's built-in kernels, and shows what passes through them.

Only files that TensorFlow or this package just made are run here; what a device will be given is run in a
process of its own, by `verify/runtimes.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Sample = Sequence[Array]
Feed = Iterable[Sample]
"""Each sample one array an input, whole shapes, in the order of the file."""


def tensors(content: bytes, feed: Feed, indices: Sequence[int]) -> Iterator[dict[int, Array]]:
    """For each sample the values of the tensors `indices` of the first subgraph, as copies.

    Tensors that hold nothing, as a loop leaves behind what nobody reads, are left out.
    """
    interpreter = _interpreter(content, keep_all=True)
    for sample in feed:
        _invoke(interpreter, sample)
        yield {index: values for index in indices if (values := _values(interpreter, index)) is not None}


def outputs(content: bytes, feed: Feed, *, fast: bool = False) -> list[npt.NDArray[np.float64]]:
    """Each float output over all samples, [N, values of one sample], in the order of the file.

    `fast` lets XNNPACK take what it can, as on a device.
    """
    interpreter = _interpreter(content, keep_all=False, fast=fast)
    details = [each for each in interpreter.get_output_details() if each["dtype"] == np.float32]
    found: list[list[Array]] = [[] for _ in details]
    for sample in feed:
        _invoke(interpreter, sample)
        for kept, each in zip(found, details, strict=True):
            kept.append(interpreter.get_tensor(each["index"]).ravel().astype(np.float64))
    return [np.stack(kept) for kept in found]


def noise(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """The error power of all outputs, each relative to the power of the reference output."""
    pairs = zip(reference, found, strict=True)
    return float(sum(((b - a) ** 2).sum() / max(float((a**2).sum()), 1e-30) for a, b in pairs))


def _interpreter(content: bytes, *, keep_all: bool, fast: bool = False) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType
    interpreter = Interpreter(
        model_content=content,
        num_threads=2,
        experimental_preserve_all_tensors=keep_all,
        experimental_op_resolver_type=kinds.AUTO if fast else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def _values(interpreter: Any, index: int) -> Array | None:
    try:
        values: Array = interpreter.get_tensor(index)
    except ValueError:  # "Tensor data is null"
        return None
    return values


def _invoke(interpreter: Any, sample: Sequence[Array]) -> None:
    for detail, array in zip(interpreter.get_input_details(), sample, strict=True):
        interpreter.set_tensor(detail["index"], np.ascontiguousarray(array, detail["dtype"]))
    interpreter.invoke()
