"""Tensors from the bytes of a request: from JSON, and from the binary extension.

Rules upheld here:
- The size is judged before anything is decoded or copied.
- Numbers are what they are said to be: integers neither wrap nor are cut off, and a word is no number.
- Binary data is little-endian, row by row.
"""

from math import prod

import msgspec
import numpy as np

from wherry.agent.worker.dataplane.errors import Problem
from wherry.agent.worker.runtimes.interpreter import Tensor


def from_binary(data: memoryview, name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """A view of `data` where it is aligned. Raises Problem."""
    kind = np.dtype(dtype).newbyteorder("<")
    size = kind.itemsize * prod(shape)
    if len(data) != size:
        raise Problem(f"{name} has {len(data)} bytes, {dtype} {[*shape]} is {size}")
    if dtype == "bool":
        nonzero: Tensor = np.frombuffer(data, np.uint8).reshape(shape) != 0
        return nonzero
    array = np.frombuffer(data, kind).astype(dtype, copy=False).reshape(shape)
    return array if array.flags.aligned else array.copy()


def from_json(data: bytes, name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """A JSON array, flat or nested as `shape`. Raises Problem."""
    size = prod(shape)
    commas = data.count(b",")
    if not data:
        raise Problem(f"{name} has neither data nor binary_data_size")
    if commas != max(size - 1, 0):
        raise Problem(f"{name} has {commas + 1} numbers, {[*shape]} are {size}")
    array = _decoded(data, name)
    if array.shape not in (shape, (size,)):
        raise Problem(f"the data of {name} is {[*array.shape]}, neither {[*shape]} nor flat")
    return _converted(array, name, np.dtype(dtype)).reshape(shape)


def _decoded(data: bytes, name: str) -> Tensor:
    try:
        array = np.array(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise Problem(f"the data of {name} is not an array of numbers, flat or of the shape that it says") from error
    if array.dtype.kind not in "biuf":
        raise Problem(f"the data of {name} has other things than numbers")
    return array


def _converted(array: Tensor, name: str, dtype: np.dtype[np.generic]) -> Tensor:
    if dtype.kind == "f" and array.dtype.kind in "iuf":
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            return array.astype(dtype)
    if array.size == 0 or (dtype.kind == "b" and array.dtype.kind == "b"):
        return array.astype(dtype)
    if dtype.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(str(dtype))
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise Problem(f"the data of {name} has numbers outside of {dtype}'s {limits.min} to {limits.max}")
        return array.astype(dtype)
    raise Problem(f"the data of {name} is not {dtype}")
