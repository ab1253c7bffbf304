"""What every form of data is read as: for each input a column of samples, of which some are taken.

Rules upheld here:
- Taking does not hold more in memory than what is taken and one chunk.
- All samples are looked through for NaN and infinity, also those that are not taken: a file with any is not what
  its maker thinks it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wherry.converters.errors import DataError

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]

CHUNK_BYTES = 8 * 1024 * 1024


class Column(Protocol):
    """The samples of one input, [N, ...], wherever they lie."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def take(self, indices: Labels) -> Array:
        """The samples at ascending `indices`, finite. Raises DataError."""


@dataclass(frozen=True)
class Found:
    """What lies at `where`, by names of the data's own, before anything is held against the model.

    `layout` is that of the data where its form says so; `fix` how to make data of this form.
    """

    where: str
    columns: dict[str, Column]
    labels: Column | None = None
    class_names: tuple[str, ...] = ()
    layout: str = ""
    fix: str = ""


@dataclass(frozen=True)
class ArrayColumn:
    """Samples that are in memory, or mapped into it. `name` is what messages call them."""

    name: str
    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def take(self, indices: Labels) -> Array:
        require_finite(self.name, self._chunks(), len(self.values), self.dtype)
        return np.asarray(self.values[indices])

    def _chunks(self) -> Iterator[Array]:
        step = rows_a_chunk(self.shape, self.dtype)
        return (self.values[start : start + step] for start in range(0, len(self.values), step))


def rows_a_chunk(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return max(CHUNK_BYTES // max(int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize, 1), 1)


def not_finite(chunk: Array) -> Labels:
    """Which samples of the chunk have a value that is no finite float32, as models compute in."""
    if chunk.dtype.kind != "f":
        return np.empty(0, np.int64)
    with np.errstate(over="ignore"):
        values = chunk.astype(np.float32, copy=False)
    return np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))


def require_finite(name: str, chunks: Iterator[Array], count: int, dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f":
        return
    start, bad = 0, []
    for chunk in chunks:
        bad.append(not_finite(chunk) + start)
        start += len(chunk)
    refuse_bad(name, np.concatenate(bad), count)


def refuse_bad(name: str, bad: Labels, count: int) -> None:
    """Raises DataError where there is any index of a sample that is not finite."""
    if bad.size:
        raise DataError(
            f"{name} has NaN or infinite values in {bad.size} of {count} samples, first in sample {bad[0]}",
            "remove these samples or mend their preprocessing",
        )
