"""The quantization formula against the converter's own numbers, and parity against a damaged file.

What docs/reference/quantization.md says is computed here in plain NumPy for a trained network and
compared with what TensorFlow's converter stored and what the runtime's kernels answer.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.conversion import Conversion
from tests.support.tflite_file import Layer, TfliteFile
from wherry.converters.compress import affine
from wherry.converters.data import evenly
from wherry.converters.errors import ParityLost
from wherry.converters.verify import parity
from wherry.protocol.manifest import Quantization
from wherry.protocol.recipe import CalibrationUse

pytestmark = pytest.mark.slow
pytest.importorskip("tflite_runtime", reason="the built-in kernels of tflite-runtime are the reference")

AXIS = 0
"""Of the output channels, in the weights of convolutions [out, y, x, in] and of dense layers [out, in]."""


@pytest.fixture(scope="module")
def quantized(int8: Conversion) -> TfliteFile:
    return TfliteFile(Path(int8.request.out_dir) / "int8.tflite")


@pytest.fixture(scope="module")
def real(float_digits: Path) -> TfliteFile:
    return TfliteFile(float_digits / "float.tflite")


@pytest.fixture(scope="module")
def heldout(digits: Path) -> npt.NDArray[np.float32]:
    with np.load(digits / "heldout-200.npz") as arrays:
        x: npt.NDArray[np.float32] = arrays["x"]
    return x


def pairs(real: TfliteFile, quantized: TfliteFile) -> list[tuple[Layer, Layer]]:
    found = list(zip(real.layers, quantized.layers, strict=True))
    assert [layer.operator for layer, _ in found] == [layer.operator for _, layer in found]
    assert {layer.operator for layer, _ in found} == {"CONV_2D", "FULLY_CONNECTED"}
    return found


def test_scales_and_zero_points_follow_from_the_recorded_range(
    real: TfliteFile, quantized: TfliteFile, digits: Path
) -> None:
    with np.load(digits / "train.npz") as arrays:
        calibration = arrays["x"][evenly(len(arrays["x"]), CalibrationUse().samples)]
    layers = pairs(real, quantized)
    seen = real.run(calibration, [layer.output for layer, _ in layers])
    for values, (_, layer) in zip(seen, layers, strict=True):
        expected = affine.activation_quantization(float(values.min()), float(values.max()))
        scale, zero_point = quantized.quantization(layer.output)
        assert zero_point == expected.zero_point
        assert scale == pytest.approx(expected.scale, rel=1e-5), "kernels sum in another order than calibration"


def test_stored_weights_are_the_float_weights_by_the_formula(real: TfliteFile, quantized: TfliteFile) -> None:
    for source, layer in pairs(real, quantized):
        scales = affine.weight_scales(source.weights, AXIS)
        assert layer.scales is not None
        assert np.allclose(layer.scales, scales, rtol=1e-6, atol=0)
        assert np.array_equal(affine.quantize_weights(source.weights, scales, AXIS), layer.weights)
        assert layer.weights.min() >= -127


def test_stored_biases_have_the_scale_of_the_accumulator(real: TfliteFile, quantized: TfliteFile) -> None:
    for source, layer in pairs(real, quantized):
        assert layer.scales is not None
        input_scale, _ = quantized.quantization(layer.input)
        expected = affine.quantize_bias(source.bias, input_scale, layer.scales)
        assert layer.bias.dtype == np.int32
        assert np.array_equal(expected, layer.bias)


def test_whole_layers_accumulate_and_requantize_bit_for_bit(
    quantized: TfliteFile, heldout: npt.NDArray[np.float32]
) -> None:
    layers = quantized.layers
    inputs = affine.quantize(heldout, _affine(quantized, layers[0].input))
    tensors = [index for layer in layers for index in (layer.input, layer.output)]
    seen = quantized.run(inputs, tensors)
    for position, layer in enumerate(layers):
        stored, answered = seen[2 * position], seen[2 * position + 1]
        found = _layer_output(quantized, layer, stored, relu=position < len(layers) - 1)
        assert np.array_equal(found, answered), (layer.operator, np.abs(found.astype(int) - answered).max())


def test_parity_refuses_a_float_file_with_damaged_weights(
    float_digits: Path, real: TfliteFile, heldout: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    expected = np.load(float_digits / "expected.npy")
    last = real.layers[-1]
    (whole,) = parity.measure(["digits"], [expected], real.run(heldout, [last.output]))
    assert whole.snr_db > 90
    content = real.path.read_bytes()
    weights = last.weights.tobytes()
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(content.replace(weights, (last.weights * np.float32(1.02)).tobytes()))
    assert damaged.read_bytes() != content
    with pytest.raises(ParityLost):
        parity.require(parity.measure(["digits"], [expected], TfliteFile(damaged).run(heldout, [last.output])))


def _affine(file: TfliteFile, index: int) -> Quantization:
    scale, zero_point = file.quantization(index)
    return Quantization(scale=scale, zero_point=zero_point)


def _layer_output(file: TfliteFile, layer: Layer, stored: npt.NDArray[np.int8], *, relu: bool) -> npt.NDArray[np.int8]:
    """What the formula makes of int8 inputs [N, ...]."""
    source, target = _affine(file, layer.input), _affine(file, layer.output)
    assert layer.scales is not None
    centred = stored.astype(np.int32) - source.zero_point
    weights = layer.weights.astype(np.int32)
    if layer.operator == "CONV_2D":
        height, width = layer.weights.shape[1:3]
        windows = np.lib.stride_tricks.sliding_window_view(centred, (height, width), axis=(1, 2))
        windows = windows[:, :: layer.stride, :: layer.stride]
        accumulator = np.einsum("nyxchw,ohwc->nyxo", windows, weights)
    else:
        accumulator = centred.reshape(len(centred), -1) @ weights.T
    multipliers = source.scale * layer.scales.astype(np.float64) / target.scale
    lowest = target.zero_point if relu else affine.INT8_MIN
    return affine.requantize(accumulator + layer.bias, multipliers, target.zero_point, lowest=lowest)
