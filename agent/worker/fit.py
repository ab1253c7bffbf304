"""What somebody gives for an input, brought into the form that the model stores: for apps and feeds alike.

Rules upheld here:
- An array in the model's own stored type goes in as it is; floats are never so where there is preprocessing.
- Where the manifest has preprocessing any other array is raw, and prepared as the converter did it.
- Without it floats are quantized, and all else is refused.
- A label is the index of a class: one of the last axis of the first output. What is none is never counted as wrong.
- Shapes are those of the TFLite file, with the batch of 1 or without. Nothing is resized: that needs a picture library.
"""

import operator
from collections.abc import Sequence

import numpy as np

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.preparation import prepare


class Unfit(ValueError):
    """The array cannot be this input; the text says what it is and what the model takes."""


def fit(array: Tensor, spec: TensorSpec) -> Tensor:
    """`array` as the tensor of `spec`: its shape and type, contiguous. Raises Unfit."""
    if array.shape not in shapes_of_one(spec):
        raise Unfit(f"{spec.name} is {list(array.shape)}, the model takes {list(spec.shape)}{_layout(spec)}")
    if is_stored(array.dtype, spec):
        return np.ascontiguousarray(array).reshape(spec.shape)  # in this order: it turns a scalar into a row
    check_raw(array, spec, spec.name)
    try:
        return np.ascontiguousarray(prepare(array, spec)).reshape(spec.shape)
    except ValueError as error:
        raise Unfit(f"{spec.name}: {error}") from error


def shapes_of_one(spec: TensorSpec) -> list[tuple[int, ...]]:
    """Of one sample: without the batch, which is 1, and with it; an input may have none."""
    return [spec.shape[1:], spec.shape] if spec.shape[:1] == (1,) else [spec.shape]


def is_stored(dtype: np.dtype[np.generic], spec: TensorSpec) -> bool:
    """Whether values of `dtype` are the model's own."""
    return dtype == spec.dtype and not (spec.preprocessing and dtype.kind == "f")


def check_raw(array: Tensor, spec: TensorSpec, name: str) -> None:
    """Whether raw values can be prepared at all. Raises Unfit."""
    takes_floats = spec.quantization is not None or spec.dtype.startswith("float")
    kinds = "fiub" if spec.preprocessing else "f" if takes_floats else ""
    if array.dtype.kind not in kinds:
        raise Unfit(f"{name} is {array.dtype}, the model takes {spec.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Unfit(f"{name} has values that are not finite")


def check_finite(array: Tensor, spec: TensorSpec) -> None:
    """What is not a number must not reach a model: its answer would count as the model's failure. Raises Unfit."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Unfit(f"{spec.name} has values that are not finite")


def right_class(label: object, outputs: Sequence[TensorSpec]) -> int:
    """`label` as the index of one of the classes that a model of `outputs` tells apart. Raises Unfit."""
    classes = outputs[0].shape[-1] if outputs and outputs[0].shape else 0
    try:
        number = -1 if isinstance(label, bool) else operator.index(label)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if not 0 <= number < classes:
        raise Unfit(f"label must be the index of the right class, from 0 to {classes - 1}")
    return number


def _layout(spec: TensorSpec) -> str:
    return f" ({spec.layout})" if spec.layout else ""
