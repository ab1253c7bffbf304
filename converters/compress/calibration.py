"""One run of the float file over real inputs, which records the smallest and largest value of every tensor.

Rules upheld here:
- The calibrated file is the float file with `min` and `max` in its tensors; every quantization is made from
  it, and whatever improves ranges (`ranges.py`) writes into it.
- A feed is what a generator of samples gives: each sample a sequence of arrays, whole shapes, in the order of
  the float file's inputs.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters import flatbuffer
from wherry.converters.compress import graph, observe
from wherry.converters.compress.observe import Feed
from wherry.converters.errors import DataError, UnsupportedModel


def calibrate(float_file: bytes, feed: Feed) -> bytes:
    """The float file with recorded ranges.

    Raises DataError for none or misshapen samples, UnsupportedModel where the file does not run.
    """
    from tensorflow.lite.python.optimize import calibrator

    counted = _Counted(float_file, feed)
    named = unambiguous(float_file)
    try:
        if len(graph.parse(named).subgraphs) > 1:
            calibrated = _record(named, counted)
        else:
            prepared = calibrator.add_intermediate_tensors(named)
            calibrated = bytes(calibrator.Calibrator(prepared).calibrate(lambda: counted))
    except (ValueError, RuntimeError) as error:
        if counted.samples == 0:
            raise DataError("the calibration data is empty", "give real inputs, some dozens at least") from error
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedModel(f"calibration cannot run the float file: {reason}", "simplify the model") from error
    if counted.samples == 0:
        raise DataError("the calibration data is empty", "give real inputs, some dozens at least")
    return calibrated


def unambiguous(float_file: bytes) -> bytes:
    """The file with a name of its own for each tensor that an operator writes: layers are chosen by these names."""
    model = graph.parse(float_file)
    taken: set[str] = set()
    changed = False
    for subgraph in model.subgraphs:
        for _, op in graph.operators(model, subgraph):
            for index in op.outputs:
                name = graph.tensor_name(subgraph, index)
                if not name or name in taken:
                    subgraph.tensors[index].name = _free_name(name or "tensor", taken)
                    changed = True
                taken.add(graph.tensor_name(subgraph, index))
    return flatbuffer.write(model) if changed else float_file


def _record(float_file: bytes, feed: Feed) -> bytes:
    """TensorFlow's calibrator ends the process where there are loops; what is inside of them gets no range here."""
    from ai_edge_litert import schema_py_generated as schema

    model = graph.parse(float_file)
    subgraph = model.subgraphs[0]
    computed = [index for _, op in graph.operators(model, subgraph) for index in op.outputs]
    wanted = [index for index in (*map(int, subgraph.inputs), *computed) if graph.is_float(subgraph, index)]
    lows: dict[int, float] = {}
    highs: dict[int, float] = {}
    for values in observe.tensors(float_file, feed, wanted):
        for index, array in values.items():
            lows[index] = min(lows.get(index, 0.0), float(array.min()))
            highs[index] = max(highs.get(index, 0.0), float(array.max()))
    for index, low in lows.items():
        quantization = schema.QuantizationParametersT()
        quantization.min, quantization.max = np.array([low], np.float32), np.array([highs[index]], np.float32)
        subgraph.tensors[index].quantization = quantization
    return flatbuffer.write(model)


def _free_name(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"


class _Counted:
    """An iteration that counts, checks shapes, and gives lists, which is what the calibrator asks for."""

    def __init__(self, float_file: bytes, feed: Feed) -> None:
        subgraph = graph.parse(float_file).subgraphs[0]
        self._shapes = [flatbuffer.shape(subgraph.tensors[index]) for index in subgraph.inputs]
        self._feed = iter(feed)
        self.samples = 0

    def __iter__(self) -> Iterator[list[npt.NDArray[Any]]]:
        for sample in self._feed:
            self.samples += 1
            shapes = [tuple(array.shape) for array in sample]
            if shapes != self._shapes:  # the calibrator would resize the model
                raise DataError(
                    f"calibration sample {self.samples} has the shapes {shapes}, the model takes {self._shapes}",
                    "give each input in the model's own shape",
                )
            yield [np.ascontiguousarray(array) for array in sample]
