"""Calibration and evaluation data of a Keras model with one input: `.npz` files with `x` and, optionally, `y`.

Rules upheld here:
- `x` is [N, ...] of real, finite numbers in the very form that the model takes; nothing is rescaled.
- `y` is [N], the index of the right class.
- Pickled objects are never loaded.
- Whatever is wrong names the file, what was found, what was expected, and what to do.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wherry.converters.errors import DataError

_FORM = "save it with numpy.savez(path, x=inputs) or numpy.savez(path, x=inputs, y=class_indices)"


@dataclass(frozen=True)
class Samples:
    """`x`: [N, ...] float32. `y`: [N] int64 class indices, or None without labels."""

    path: Path
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: npt.NDArray[np.int64]) -> "Samples":
        return Samples(self.path, self.x[indices], None if self.y is None else self.y[indices])

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest value of `x`."""
        return float(self.x.min()), float(self.x.max())


def load_samples(path: Path) -> Samples:
    """Read and check what can be checked without the model. Raises DataError."""
    arrays = _read(path)
    x = _checked_inputs(path, arrays["x"])
    y = _checked_labels(path, arrays["y"], len(x)) if "y" in arrays else None
    return Samples(path, x, y)


def check_fits(samples: Samples, input_shape: tuple[int, ...], classes: int | None) -> None:
    """Hold the samples against the model. Raises DataError.

    `input_shape` is without the batch; `classes` is None where the model's output is not one score a class.
    """
    if samples.x.shape[1:] != input_shape:
        raise DataError(
            f"{samples.path}: x is {_shape(samples.x.shape)}, the model takes {_shape(('N', *input_shape))}",
            "bring each sample to the model's input shape, as in training",
        )
    if samples.y is None:
        return
    if classes is None:
        raise DataError(
            f"{samples.path}: has labels `y`, but the model's output is not one score a class",
            "leave `y` out; agreement with the float model is then the criterion",
        )
    low, high = int(samples.y.min()), int(samples.y.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{samples.path}: labels are between {low} and {high}, the model has the classes 0 to {classes - 1}",
            "use the class numbers of training, counted from 0",
        )


def check_varies(samples: Samples) -> None:
    """A constant calibrates nothing, and everything agrees on it. Raises DataError."""
    low, high = samples.span
    if low == high:
        raise DataError(f"{samples.path}: every value of x is {low:g}", "save real inputs, as the model will see them")


def _read(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file", "check the path of the calibration or evaluation data")
    try:
        zipfile.ZipFile(path).close()  # a single array or a pickle is not one
        with np.load(path, allow_pickle=False) as archive:
            if "x" not in archive.files:
                found = ", ".join(sorted(archive.files)) or "nothing"
                raise DataError(f"{path}: no array `x` (found: {found})", _FORM)
            return {name: archive[name] for name in archive.files if name in ("x", "y")}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, PermissionError):
            raise DataError(f"{path}: not readable by this user", "change its permissions") from error
        if "allow_pickle" in str(error):
            raise DataError(f"{path}: holds Python objects, which are not loaded", _FORM) from error
        raise DataError(f"{path}: not an .npz file, or damaged", _FORM) from error


def _checked_inputs(path: Path, x: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path}: x holds {x.dtype}, expected numbers", "store the inputs as float32 or integers")
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{path}: x is {_shape(x.shape)}, expected [N, ...] with N of at least 1", _FORM)
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
        values = x.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if bad.size:
        raise DataError(
            f"{path}: x has NaN or infinite values in {bad.size} of {len(values)} samples, first in sample {bad[0]}",
            "remove these samples or mend their preprocessing",
        )
    return values


def _checked_labels(path: Path, y: npt.NDArray[np.generic], count: int) -> npt.NDArray[np.int64]:
    if y.shape not in ((count,), (count, 1)):
        fix = "use y.argmax(axis=1)" if y.ndim == 2 and len(y) == count else "give one class index a sample"
        raise DataError(f"{path}: y is {_shape(y.shape)}, expected [{count}], one class index a sample", fix)
    if y.dtype.kind not in "iu":
        raise DataError(f"{path}: y holds {y.dtype}, expected integers", "use y.astype('int64')")
    return y.reshape(count).astype(np.int64)


def _shape(shape: tuple[object, ...]) -> str:
    return f"[{', '.join(str(length) for length in shape)}]"
