"""One run of the float file over real inputs, which records the smallest and largest value of every tensor.

Rules upheld here:
- The calibrated file is the float file with `min` and `max` in its tensors; every quantization is made from
  it, and whatever improves ranges (`ranges.py`) writes into it.
- A feed is what a generator of samples gives: each sample a sequence of arrays, whole shapes, in the order of
  the float file's inputs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.compress import graph
from wherry.converters.errors import DataError, UnsupportedModel

Sample = Sequence[npt.NDArray[Any]]
Feed = Iterable[Sample]


def calibrate(float_file: bytes, feed: Feed) -> bytes:
    """The float file with recorded ranges. Raises DataError without samples, UnsupportedModel where it does not run."""
    from tensorflow.lite.python.optimize import calibrator

    counted = _Counted(feed)
    try:
        prepared = calibrator.add_intermediate_tensors(unambiguous(float_file))
        return bytes(calibrator.Calibrator(prepared).calibrate(lambda: counted))
    except (ValueError, RuntimeError) as error:
        if counted.samples == 0:
            raise DataError("the calibration data is empty", "give real inputs, some dozens at least") from error
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedModel(f"calibration cannot run the float file: {reason}", "simplify the model") from error


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
    return graph.pack(model) if changed else float_file


def ends_of(float_file: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tensor names of inputs and outputs, in the file's order."""
    subgraph = graph.parse(float_file).subgraphs[0]
    names: Callable[[Any], tuple[str, ...]] = lambda ends: tuple(graph.tensor_name(subgraph, index) for index in ends)  # noqa: E731
    return names(subgraph.inputs), names(subgraph.outputs)


def _free_name(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"


class _Counted:
    """An iteration that counts, and gives lists, which is what the calibrator asks for."""

    def __init__(self, feed: Feed) -> None:
        self._feed = iter(feed)
        self.samples = 0

    def __iter__(self) -> Iterator[list[npt.NDArray[Any]]]:
        for sample in self._feed:
            self.samples += 1
            yield [np.ascontiguousarray(array) for array in sample]
