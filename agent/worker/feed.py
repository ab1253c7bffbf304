"""The directory feed: pictures, or any tensors, from `.npz` files, again and again.

Rules upheld here:
- Files are read when their turn comes, in name order; the directory is listed anew every cycle.
- A model of one input is fed from `x`, or from an array of the input's name; one of several from arrays of their
  names. `y` are the classes, or `labels` where an input is called `y`.
- An array in the model's own stored integers goes in as it is. Where the manifest has preprocessing any other is raw,
  and prepared as the converter did it; without it floats are quantized and all else is refused.
- Shapes are those of the TFLite file. Nothing is resized: that needs a picture library, which boards lack.
- A bad file is yielded as such and passed over; nothing in a directory ends the feed.
- Pickled objects are never loaded: a data file runs no code.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wherry.agent.worker.fit import check_raw, fit, is_stored, shapes_of_one
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.preparation import prepare

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""One file is in memory at a time; a board has little of it."""


class Sample(NamedTuple):
    """One tensor for each input of the model, of its shape and type, and the class that it is, where that is known."""

    inputs: list[Tensor]
    label: int | None


class BadFile(NamedTuple):
    reason: str


class Idle(NamedTuple):
    """A whole cycle gave no sample: let a while pass before the next."""

    reason: str


def samples(directory: Path, specs: Sequence[TensorSpec]) -> Iterator[Sample | BadFile | Idle]:
    """Cycle through the files for ever."""
    while True:
        found = False
        for item in _cycle(directory, specs):
            found = found or isinstance(item, Sample)
            yield item
        if not found:
            yield Idle(f"{directory} has no usable .npz file" if directory.is_dir() else f"{directory} is not there")


def _cycle(directory: Path, specs: Sequence[TensorSpec]) -> Iterator[Sample | BadFile]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".npz" and path.is_file())
    except OSError:
        return
    for path in paths:
        try:
            arrays, y = _read(path, specs)
        except Exception as error:  # noqa: BLE001 - zipfile and numpy raise what they like on damaged files
            yield BadFile(f"{path.name}: {error or type(error).__name__}")
            continue
        for index in range(len(arrays[0])):
            inputs = [fit(array[index], spec) for array, spec in zip(arrays, specs, strict=True)]
            yield Sample(inputs, None if y is None else int(y[index]))


def _read(path: Path, specs: Sequence[TensorSpec]) -> tuple[list[Tensor], Tensor | None]:
    """One array for each input, and the classes."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        raise ValueError(f"{unpacked} bytes unpacked exceed the limit of {MAX_UNPACKED_BYTES}")
    with np.load(path, allow_pickle=False) as archive:
        names = [_name(archive.files, spec, specs) for spec in specs]
        arrays = [archive[name] for name in names]
        y = archive.get("labels" if any(spec.name == "y" for spec in specs) else "y")
    for name, array, spec in zip(names, arrays, specs, strict=True):
        _check(name, array, spec)
    _check_counts(names, arrays, y)
    return arrays, y


def _name(found: Sequence[str], spec: TensorSpec, specs: Sequence[TensorSpec]) -> str:
    """What the file calls the input; a name may lack the `:0` of TensorFlow's."""
    candidates = [*(["x"] if len(specs) == 1 else []), spec.name, spec.name.split(":")[0]]
    name = next((name for name in candidates if name in found), None)
    if name is None:
        raise ValueError(f"has no array {candidates[0]}, but {', '.join(found) or 'nothing'}")
    return name


def _check(name: str, x: Tensor, spec: TensorSpec) -> None:
    if x.ndim == 0 or x.shape[1:] not in shapes_of_one(spec):
        lengths = ", ".join(map(str, ("N", *shapes_of_one(spec)[0])))
        layout = f" ({spec.layout})" if spec.layout else ""
        raise ValueError(f"{name} is {list(x.shape)}, the model takes [{lengths}]{layout}")
    if not is_stored(x.dtype, spec):
        check_raw(x, spec, name)
        prepare(x[:1], spec)  # says now whether that can be done


def _check_counts(names: Sequence[str], arrays: Sequence[Tensor], y: Tensor | None) -> None:
    counts = {name: len(array) for name, array in zip(names, arrays, strict=True)}
    if len(set(counts.values())) > 1:
        raise ValueError(f"has different numbers of samples: {counts}")
    if y is not None and (y.shape != arrays[0].shape[:1] or y.dtype.kind not in "iu"):
        raise ValueError(
            f"y is {y.dtype} {list(y.shape)}, not an integer for each of the {len(arrays[0])} of {names[0]}"
        )
