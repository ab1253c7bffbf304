"""The arithmetic of int8 quantization, as TensorFlow's converter and the TFLite kernels do it.

    real = scale * (stored - zero_point)

Rules upheld here, each proved against the converter's own numbers by tests/integration/test_affine.py:
- Activations are asymmetric over [-128, 127], and zero is always represented exactly.
- Weights are symmetric over the narrow range [-127, 127], one scale a channel, zero point 0.
- A bias is int32 at scale `input scale * weight scale`.
- Stored values are rounded to nearest, halves away from zero, and saturate; accumulators are
  requantized in fixed point, halves up.
docs/reference/quantization.md explains the same in words.
"""

import math

import numpy as np
import numpy.typing as npt

from wherry.protocol import preparation
from wherry.protocol.manifest import Quantization
from wherry.protocol.preparation import round_half_away

INT8_MIN, INT8_MAX = -128, 127
NARROW_MAX = 127
_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1

Floats = npt.NDArray[np.float64] | npt.NDArray[np.float32]
Ints = npt.NDArray[np.int8] | npt.NDArray[np.int32] | npt.NDArray[np.int64]


def activation_quantization(low: float, high: float) -> Quantization:
    """Scale and zero point of an int8 activation that was seen between `low` and `high`.

    The range is widened to hold zero. The zero point is computed from that end of the range which
    gives the smaller rounding error, then nudged to the nearest integer, so that real zero is exact.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return Quantization(scale=1.0, zero_point=0)
    scale = (high - low) / (INT8_MAX - INT8_MIN)
    from_low = INT8_MIN - low / scale
    from_high = INT8_MAX - high / scale
    error_low = abs(INT8_MIN) + abs(low / scale)
    error_high = abs(INT8_MAX) + abs(high / scale)
    exact = from_low if error_low < error_high else from_high
    zero_point = min(max(int(round_half_away(exact)), INT8_MIN), INT8_MAX)
    return Quantization(scale=float(np.float32(scale)), zero_point=zero_point)


def quantize(values: npt.ArrayLike, quantization: Quantization) -> npt.NDArray[np.int8]:
    """Real values to int8; what lies outside of the range saturates."""
    return preparation.quantize(values, quantization, "int8")


def dequantize(stored: npt.NDArray[np.generic], quantization: Quantization) -> npt.NDArray[np.float32]:
    """Stored integers to the real values that they stand for."""
    return preparation.dequantize(stored, quantization)


def weight_scales(weights: Floats, axis: int | None) -> npt.NDArray[np.float32]:
    """One scale for each index of `axis`, so that the largest magnitude is 127; one in all where it is None."""
    others = tuple(i for i in range(weights.ndim) if i != axis) if axis is not None else None
    largest: npt.NDArray[np.float32] = np.atleast_1d(np.max(np.abs(weights), axis=others)).astype(np.float32)
    return largest / np.float32(NARROW_MAX)


def quantize_weights(weights: Floats, scales: npt.NDArray[np.float32], axis: int | None) -> npt.NDArray[np.int8]:
    """Weights to int8 in [-127, 127] with the scales of `weight_scales`.

    Multiplied by the float32 inverse of the scale, as the converter does: a quotient that lies on a
    half may fall on either side of it.
    """
    inverse = np.float32(1) / _along(scales, axis, weights.ndim)
    steps = round_half_away(weights.astype(np.float32) * inverse)
    return np.clip(steps, -NARROW_MAX, NARROW_MAX).astype(np.int8)


def quantize_bias(bias: Floats, input_scale: float, scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Bias to int32 at the scale of the accumulator, `input_scale * scales`."""
    steps = round_half_away(bias.astype(np.float64) / (np.float64(input_scale) * scales))
    return np.clip(steps, _INT32_MIN, _INT32_MAX).astype(np.int32)


def fixed_point(multiplier: float) -> tuple[int, int]:
    """`multiplier` as (mantissa, exponent) with multiplier = mantissa * 2 ** (exponent - 31).

    The mantissa is an int32 in [2^30, 2^31), so 31 bits of the multiplier are kept.
    """
    if multiplier == 0:
        return 0, 0
    fraction, exponent = math.frexp(multiplier)
    mantissa = int(round_half_away(fraction * 2**31))
    return (mantissa // 2, exponent + 1) if mantissa == 2**31 else (mantissa, exponent)


def multiply_fixed(accumulator: Ints, mantissa: int, exponent: int) -> npt.NDArray[np.int64]:
    """`accumulator * mantissa * 2 ** (exponent - 31)`, rounded as the built-in kernels do (ruy).

    Rounded twice, halves up: first the high half of the doubled product, then the right shift. A single
    rounding of the exact product is one step off about once in 3,000 values.
    """
    left, right = max(exponent, 0), max(-exponent, 0)
    product: npt.NDArray[np.int64] = (accumulator.astype(np.int64) << left) * mantissa
    high = (product + (1 << 30)) >> 31
    return (high + ((1 << right) >> 1)) >> right


def requantize(
    accumulator: Ints, multipliers: npt.NDArray[np.float64], zero_point: int, *, lowest: int = INT8_MIN
) -> npt.NDArray[np.int8]:
    """int32 accumulators `[..., channels]` to int8 outputs.

    `multipliers`, one a channel, are `input scale * weight scale / output scale`. `lowest` is the
    zero point where a ReLU is fused into the layer.
    """
    channels = [
        multiply_fixed(accumulator[..., index], *fixed_point(float(multiplier)))
        for index, multiplier in enumerate(np.broadcast_to(multipliers, accumulator.shape[-1:]))
    ]
    return np.clip(np.stack(channels, axis=-1) + zero_point, lowest, INT8_MAX).astype(np.int8)


def _along(scales: npt.NDArray[np.float32], axis: int | None, ndim: int) -> npt.NDArray[np.float32]:
    """Reshape one scale a channel so that it broadcasts over `axis`."""
    shape = [1] * ndim
    if axis is not None:
        shape[axis] = -1
    return scales.reshape(shape)
