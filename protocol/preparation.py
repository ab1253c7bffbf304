"""What is done to a raw sample before the model sees it, and to stored integers after: the one implementation.

Converters (calibration, evaluation, golden vectors) and the worker on the device call this, so all see the same.

Rules upheld here:
- Preprocessing is real = (raw * scale - mean) / std in float32, as the manifest has it.
- Stored integers are round(real / scale) + zero point in float64, halves away from zero, saturating.
- Arrays may have a batch before their other axes or not; channels are counted from the end.
- Pictures arrive in their right size and color: bringing them there needs a picture library, which boards lack.

This module and `scores.py` are the only ones of the protocol that import numpy. The supervisor and the controller must
not import them; pyproject.toml says so to import-linter.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.protocol.manifest import DType, Preprocessing, Quantization, TensorSpec

Array = npt.NDArray[Any]

CHANNEL_AXIS = {"": -1, "NHWC": -1, "NCHW": -3}
"""By layout, with or without a batch."""

_UNIT = Quantization(scale=1.0, zero_point=0)


def preprocess(raw: Array, how: Preprocessing, layout: str = "") -> npt.NDArray[np.float32]:
    """Raw values to the real values that the model takes. Raises ValueError where `mean` or `std` do not fit."""
    axis = CHANNEL_AXIS[layout]
    mean, std = _by_channel("mean", how.mean, raw.shape, axis), _by_channel("std", how.std, raw.shape, axis)
    with np.errstate(over="ignore"):  # becomes infinite, which callers refuse
        real: npt.NDArray[np.float32] = raw.astype(np.float32) * np.float32(how.scale)
        if mean is not None:
            real = real - mean
        if std is not None:
            real = real / std
    return real


def round_half_away(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Nearest integer, halves away from zero, as C's `round`; numpy's own rounds halves to even."""
    array = np.asarray(values, np.float64)
    whole = np.trunc(array)
    rounded: npt.NDArray[np.float64] = whole + np.where(np.abs(array - whole) >= 0.5, np.sign(array), 0.0)
    return rounded


def quantize(real: npt.ArrayLike, quantization: Quantization, dtype: DType = "int8") -> Array:
    """Real values to stored integers; what lies outside of the type's range saturates."""
    limits = np.iinfo(dtype)
    steps = round_half_away(np.asarray(real, np.float64) / quantization.scale) + quantization.zero_point
    if limits.bits == 64:  # the ends of int64 are no float64
        return np.clip(steps, -(2.0**63), math.nextafter(2.0**63, 0)).astype(dtype)
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantize(stored: Array, quantization: Quantization) -> npt.NDArray[np.float32]:
    """Stored integers to the real values that they stand for."""
    real: npt.NDArray[np.float64] = quantization.scale * (stored.astype(np.float64) - quantization.zero_point)
    return real.astype(np.float32)


def to_stored(real: Array, spec: TensorSpec) -> Array:
    """Real values in the type that the tensor is stored in; without quantization, the values themselves.

    What some converters leave as a scale on float tensors means nothing.
    """
    if spec.dtype.startswith("float"):
        return real.astype(spec.dtype, copy=False)
    if spec.quantization is not None:
        return quantize(real, spec.quantization, spec.dtype)
    if spec.dtype == "bool":
        nonzero: Array = real != 0
        return nonzero
    return real if real.dtype == spec.dtype else quantize(real, _UNIT, spec.dtype)


def to_real(stored: Array, spec: TensorSpec) -> npt.NDArray[np.float32]:
    """A tensor's stored values as real ones."""
    if spec.quantization is None or spec.dtype.startswith("float"):
        return stored.astype(np.float32, copy=False)
    return dequantize(stored, spec.quantization)


def prepare(raw: Array, spec: TensorSpec) -> Array:
    """Raw samples as the tensor is stored: preprocessed where `spec` says so, then quantized."""
    if spec.preprocessing is None:
        return to_stored(raw, spec)
    return to_stored(preprocess(raw, spec.preprocessing, spec.layout), spec)


def _by_channel(
    what: str, numbers: tuple[float, ...], shape: tuple[int, ...], axis: int
) -> npt.NDArray[np.float32] | None:
    """The numbers, so that they broadcast over `shape`; None where there are none."""
    if not numbers:
        return None
    values = np.asarray(numbers, np.float32)
    if len(numbers) == 1:
        return values.reshape(())
    channels = shape[axis] if len(shape) >= -axis else 0
    if len(numbers) != channels:
        raise ValueError(f"{what} has {len(numbers)} numbers for {channels} channels")
    return values.reshape(-1, *(1,) * (-axis - 1))
