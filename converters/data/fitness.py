"""Samples held against the inputs of the model, and labels against its classes.

Every refusal names the data, what was found, what the model takes, and what to do.
"""

import numpy as np
import numpy.typing as npt

from wherry.converters.data.layouts import source_layout, turned
from wherry.converters.data.rows import Array, Column, Found
from wherry.converters.data.sample_set import SampleSet
from wherry.converters.errors import DataError
from wherry.converters.model import End
from wherry.protocol.preparation import dequantize


def check_column(name: str, column: Column, end: End, layout: str, fix: str) -> None:
    """Numbers, [N, ...], of the shape that the model takes in the data's `layout`. Raises DataError."""
    if column.dtype.hasobject:
        raise DataError(f"{name} holds Python objects, which are not loaded", fix)
    if column.dtype.kind not in "fiub":
        raise DataError(f"{name} holds {column.dtype}, expected numbers", "store the inputs as float32 or integers")
    if not column.shape or 0 in column.shape:
        raise DataError(f"{name} is {listed(column.shape)}, expected [N, ...] with N of at least 1", fix)
    own = source_layout(end)
    expected = turned(end.sample_shape, own, layout)
    if column.shape[1:] != expected:
        hint = _shape_hint(column.shape, expected, end.sample_shape, own, layout)
        raise DataError(f"{name} is {listed(column.shape)}, the model takes {listed(('N', *expected))}", hint)


def check_counts(found: Found, columns: dict[str, Column]) -> int:
    """How many samples there are: as many for one input as for another. Raises DataError."""
    counts = {name: column.shape[0] for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(
            f"{found.where}: the inputs have different numbers of samples: {listing}",
            "give every sample all inputs, in the same order",
        )
    return next(iter(counts.values()))


def checked_labels(where: str, labels: Column, count: int) -> npt.NDArray[np.int64]:
    """int64 [count]. Raises DataError."""
    shape = labels.shape
    if shape not in ((count,), (count, 1)):
        fix = "use y.argmax(axis=1)" if len(shape) == 2 and shape[0] == count else "give one class index a sample"
        raise DataError(f"{where}: y is {listed(shape)}, expected [{count}], one class index a sample", fix)
    if labels.dtype.kind not in "iu":
        raise _no_class_numbers(where, labels, count)
    return labels.take(np.arange(count)).reshape(count).astype(np.int64)


def _no_class_numbers(where: str, labels: Column, count: int) -> DataError:
    if labels.dtype.kind == "f" and (values := labels.take(np.arange(count))).size and (values % 1).any():
        return DataError(
            f"{where}: y holds {labels.dtype} with fractions, which are no class numbers",
            "leave `y` out for a model that predicts values; agreement with the float model is then the criterion",
        )
    fix = "use numpy.unique(y, return_inverse=True)[1], if the model's classes are in the order of their names"
    return DataError(
        f"{where}: y holds {labels.dtype}, expected integers",
        fix if labels.dtype.kind in "US" else "use y.astype('int64')",
    )


def typed(name: str, values: Array, end: End) -> Array:
    """Values in the type of the input, which must be able to hold them. Raises DataError.

    Of an input that stores integers for real values, the real values.
    """
    if end.quantization is not None:
        stored = values.dtype == end.dtype
        return dequantize(values, end.quantization) if stored else values.astype(np.float32)
    if end.dtype.startswith("float"):
        with np.errstate(over="ignore"):
            real = values.astype(end.dtype)
        if not np.isfinite(real).all():
            raise DataError(
                f"{name} exceeds the range of {end.dtype}, which the model takes", "scale it as in training"
            )
        return real
    low, high = float(values.min()), float(values.max())
    least, most = (0, 1) if end.dtype == "bool" else (np.iinfo(end.dtype).min, np.iinfo(end.dtype).max)
    if values.dtype.kind == "f" and not (values == np.trunc(values)).all():
        raise DataError(
            f"{name} holds fractions, the model takes {end.dtype}", "give the integers that the model takes"
        )
    if low < least or high > most:
        raise DataError(
            f"{name} is between {low:g} and {high:g}, the model takes {end.dtype}, {least} to {most}",
            "give the integers that the model takes",
        )
    return values.astype(end.dtype)


def check_labels(samples: SampleSet, classes: int | None) -> None:
    """Hold labels against the model; `classes` is None where its output is not one score a class. Raises DataError."""
    if samples.labels is None:
        return
    if classes is None:
        raise DataError(
            f"{samples.where}: has labels, but the model's output is not one score a class",
            "name an output with one score a class as evaluation.output in a recipe; where there is none, "
            "leave `y` out, or put the pictures into one folder: agreement with the float model is then the criterion",
        )
    if samples.class_names and len(samples.class_names) > classes:
        raise DataError(
            f"{samples.where}: has {len(samples.class_names)} folders of classes, the model has {classes} classes",
            "keep one folder a class; other folders do not belong there",
        )
    low, high = int(samples.labels.min()), int(samples.labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{samples.where}: labels are between {low} and {high}, the model has the classes 0 to {classes - 1}",
            "use the class numbers of training, counted from 0",
        )


def check_variation(samples: SampleSet) -> None:
    """A constant calibrates nothing, and everything agrees on it. Raises DataError."""
    spans = {name: samples.span(name) for name in samples.inputs}
    if all(low == high for low, high in spans.values()):
        said = ", ".join(f"{name} is {low:g}" for name, (low, _) in spans.items())
        raise DataError(f"{samples.where}: every value of {said}", "give real inputs, as the model will see them")


def listed(shape: tuple[object, ...]) -> str:
    return f"[{', '.join(str(length) for length in shape)}]"


def _shape_hint(
    shape: tuple[int, ...], expected: tuple[int, ...], sample: tuple[int, ...], own: str, layout: str
) -> str:
    sizes = shape[1:]
    other = {"NHWC": "NCHW", "NCHW": "NHWC"}.get(layout or own, "")
    if other and sizes == turned(sample, own, other):
        return f"the data looks like {other}: say --layout {other.lower()}"
    if shape == expected:
        return "this is one sample without the first axis, which counts samples: use x[numpy.newaxis]"
    if sizes == (*(length for length in expected if length != 1),):
        return f"lengths of 1 are missing: use x.reshape(-1, {', '.join(map(str, expected))})"
    if len(sizes) == len(expected) == 3 and own:
        return "bring the pictures to the model's size, or give them as a folder of pictures, which are resized"
    return "bring each sample to the model's input shape, as in training"
