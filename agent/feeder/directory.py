"""The source that is a directory: pictures, or any tensors, from `.npz` files, again and again.

Rules upheld here:
- Files are read when their turn comes, in name order; the directory is listed anew every cycle.
- A model of one input is fed from `x`, or from an array of the input's name; one of several from arrays of their
  names. `y` are the classes, or `labels` where an input is called `y`.
- An array in the model's own stored integers goes in as it is. Where the manifest has preprocessing any other is raw,
  and prepared as the converter did it; without it floats are quantized and all else is refused.
- Shapes are those of the TFLite file. Nothing is resized here.
- A version with other inputs is given the rest of the file as its own, from the sample on whose turn it is.
- A bad file is said to be one and passed over; nothing in a directory ends the feed.
- Pickled objects are never loaded: a data file runs no code.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wherry.agent.feeder.samples import Bad, Idle, Item, Sample
from wherry.agent.worker.fit import check_raw, is_stored, shapes_of_one
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.preparation import prepare

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""One file is in memory at a time; a board has little of it."""

IDLE_S = 1.0
"""How long a directory without a sample is left alone."""


class _Open(NamedTuple):
    """The file whose turn it is, as read for a model of `specs`."""

    path: Path
    specs: tuple[TensorSpec, ...]
    arrays: list[Tensor]
    y: Tensor | None


class Directory:
    """See `samples.Source`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._waiting: list[Path] = []
        self._open: _Open | None = None
        self._index = 0
        self._found = True

    def take(self, specs: Sequence[TensorSpec]) -> Item:
        while True:
            try:
                if self._open is not None and (sample := self._next(self._open, tuple(specs))):
                    return sample
                self._open = None
                if not self._waiting and (idle := self._list()):
                    return idle
                self._open, self._index = _opened(self._waiting.pop(0), tuple(specs)), 0
            except _Unusable as error:
                self._open = None
                return Bad(str(error))

    def take_dropped(self) -> int:
        """Files wait."""
        return 0

    def close(self) -> None:
        """Nothing is held."""

    def _next(self, file: _Open, specs: tuple[TensorSpec, ...]) -> Sample | None:
        """The sample whose turn it is, None at the end of the file. Raises _Unusable."""
        if file.specs != specs:
            file = self._open = _opened(file.path, specs)
        if self._index >= len(file.arrays[0]):
            return None
        index, self._index, self._found = self._index, self._index + 1, True
        label = None if file.y is None else int(file.y[index])
        return Sample([array[index] for array in file.arrays], label, {"file": file.path.name, "index": index})

    def _list(self) -> Idle | None:
        """A new cycle, unless the one before had nothing, which is said once in a while."""
        if not self._found:
            self._found = True  # for the next try
            there = self._directory.is_dir()
            return Idle(f"{self._directory} {'has no usable .npz file' if there else 'is not there'}", IDLE_S)
        self._found = False
        try:
            entries = self._directory.iterdir()
            self._waiting = sorted(path for path in entries if path.suffix == ".npz" and path.is_file())
        except OSError:
            self._waiting = []
        return None if self._waiting else self._list()


class _Unusable(Exception):
    """The text names the file and says what is wrong with it."""


def _opened(path: Path, specs: tuple[TensorSpec, ...]) -> _Open:
    """Raises _Unusable."""
    try:
        return _Open(path, specs, *_read(path, specs))
    except Exception as error:  # zipfile and numpy raise what they like on damaged files
        raise _Unusable(f"{path.name}: {error or type(error).__name__}") from error


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
