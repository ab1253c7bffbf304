"""Samples between the source's layout and that of its TFLite file, and as the archives that passes read.

Arrays are [N, ...]: with the source's own axes from the data, with those of the file afterwards.
"""

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from wherry.converters.data import SampleSet
from wherry.converters.data.layouts import source_layout
from wherry.converters.model import End, SourceModel
from wherry.converters.passes.sources import load_arrays, save_arrays
from wherry.converters.verify.runtimes import Reals

Array = npt.NDArray[Any]


def turned(samples: Array, end: End) -> Array:
    """[N, *end.sample_shape] to the axes of the TFLite file, without the batch."""
    if not end.axes:
        return samples
    if end.batched:
        return np.ascontiguousarray(samples.transpose(end.axes))
    return np.ascontiguousarray(samples.transpose((0, *(axis + 1 for axis in end.axes))))


def file_shape(end: End) -> tuple[int, ...]:
    """The whole shape in the TFLite file."""
    return tuple(end.shape[axis] for axis in end.axes) if end.axes else end.shape


def file_layout(end: End) -> Literal["", "NHWC", "NCHW"]:
    """Of a picture in the TFLite file; empty for anything else."""
    layout = source_layout(end)
    if layout == "NCHW" and end.axes:
        return "NHWC"
    return cast('Literal["", "NHWC", "NCHW"]', layout)


def for_file(samples: SampleSet, model: SourceModel) -> list[Array]:
    """The inputs in the order and layout of the TFLite file; [N, ...] each, real values."""
    return [turned(samples.inputs[end.name], end) for end in model.inputs]


def save_for_source(samples: SampleSet, model: SourceModel, path: Path) -> Path:
    """As `predict` reads them: the source's own layout."""
    save_arrays(path, [samples.inputs[end.name] for end in model.inputs])
    return path


def save_for_file(samples: list[Array], model: SourceModel, path: Path) -> Path:
    """As the passes on TFLite files read them: [N, *whole shape]."""
    shaped = [x.reshape(len(x), *file_shape(end)) for x, end in zip(samples, model.inputs, strict=True)]
    save_arrays(path, shaped)
    return path


def source_outputs(path: Path, model: SourceModel) -> Reals:
    """The source's own outputs in the layout of the TFLite file."""
    found = load_arrays(path)
    return [turned(array, end).astype(np.float32) for array, end in zip(found, model.outputs, strict=True)]
