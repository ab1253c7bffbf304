"""The directory feed: pictures, or any tensors, from `.npz` files, again and again.

Rules upheld here:
- Files are read when their turn comes, in name order; the directory is listed anew every cycle.
- `x` in the model's own type goes in as it is. Float `x` is quantized as the converter does it:
  round(x / scale) + zero point, halves away from zero, saturating.
- A bad file is yielded as such and passed over; nothing in a directory ends the feed.
- Pickled objects are never loaded: a data file runs no code.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""One file is in memory at a time; a board has little of it."""


class Sample(NamedTuple):
    """One input of the shape and type of the model's, and the class that it is, where that is known."""

    x: Tensor
    label: int | None


class BadFile(NamedTuple):
    reason: str


class Idle(NamedTuple):
    """A whole cycle gave no sample: let a while pass before the next."""

    reason: str


def samples(directory: Path, spec: TensorSpec) -> Iterator[Sample | BadFile | Idle]:
    """Cycle through the files for ever."""
    while True:
        found = False
        for item in _cycle(directory, spec):
            found = found or isinstance(item, Sample)
            yield item
        if not found:
            yield Idle(f"{directory} has no usable .npz file" if directory.is_dir() else f"{directory} is not there")


def quantize(x: Tensor, spec: TensorSpec) -> Tensor:
    """Floats to the stored integers of an input with quantization; what lies outside of the range saturates."""
    assert spec.quantization is not None
    real = x.astype(np.float64) / spec.quantization.scale
    whole = np.trunc(real)
    steps = whole + np.where(np.abs(real - whole) >= 0.5, np.sign(real), 0.0) + spec.quantization.zero_point
    limits = np.iinfo(spec.dtype)
    stored: Tensor = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
    return stored


def _cycle(directory: Path, spec: TensorSpec) -> Iterator[Sample | BadFile]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".npz" and path.is_file())
    except OSError:
        return
    for path in paths:
        try:
            x, y = _read(path, spec)
        except Exception as error:  # noqa: BLE001 - zipfile and numpy raise what they like on damaged files
            yield BadFile(f"{path.name}: {error or type(error).__name__}")
            continue
        for index in range(len(x)):
            yield Sample(_fit(x[index], spec), None if y is None else int(y[index]))


def _read(path: Path, spec: TensorSpec) -> tuple[Tensor, Tensor | None]:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        raise ValueError(f"{unpacked} bytes unpacked exceed the limit of {MAX_UNPACKED_BYTES}")
    with np.load(path, allow_pickle=False) as arrays:
        if "x" not in arrays:
            raise ValueError(f"has no array x, but {', '.join(arrays) or 'nothing'}")
        x, y = arrays["x"], arrays.get("y")
    _check(x, y, spec)
    return x, y


def _check(x: Tensor, y: Tensor | None, spec: TensorSpec) -> None:
    if x.ndim == 0 or x.shape[1:] != spec.shape[1:]:
        raise ValueError(f"x is {list(x.shape)}, the model takes [N, {', '.join(map(str, spec.shape[1:]))}]")
    if x.dtype != spec.dtype:
        if x.dtype.kind != "f" or not _takes_floats(spec):
            raise ValueError(f"x is {x.dtype}, the model takes {spec.dtype}")
        if not np.isfinite(x).all():
            raise ValueError("x has values that are not finite")
    if y is not None and (y.shape != x.shape[:1] or y.dtype.kind not in "iu"):
        raise ValueError(f"y is {y.dtype} {list(y.shape)}, not an integer for each of the {len(x)} of x")


def _takes_floats(spec: TensorSpec) -> bool:
    return spec.quantization is not None or spec.dtype.startswith("float")


def _fit(x: Tensor, spec: TensorSpec) -> Tensor:
    if x.dtype != spec.dtype:
        x = x.astype(spec.dtype) if spec.dtype.startswith("float") else quantize(x, spec)
    return np.ascontiguousarray(x.reshape(spec.shape))
