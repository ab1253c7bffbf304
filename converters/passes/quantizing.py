"""The passes that quantize, and those that look into a quantized file.

Samples are in the layout of the float file. Each pass imports what it needs when it is put to work.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wherry.converters.passes.sources import load_arrays
from wherry.converters.passes.table import (
    Chosen,
    Equalized,
    LayerErrors,
    LayerOptions,
    Nothing,
    RangeOptions,
    Ranking,
    RankOptions,
    VariantOptions,
)
from wherry.converters.report import LayerCost, LayerError

Say = Callable[[int, int], None]


def feeds(file: Path) -> Iterator[list[Any]]:
    """The samples of an archive whose arrays are [N, *whole shape], so with the batch of 1 where there is one."""
    arrays = load_arrays(file)
    for index in range(len(arrays[0])):
        yield [array[index] for array in arrays]


def calibrate(files: dict[str, Path], _options: Nothing, out: Path, _say: Say) -> Nothing:
    """`float` with `samples` to `calibrated.tflite`, which holds the ranges of all activations."""
    from wherry.converters.compress import calibration

    (out / "calibrated.tflite").write_bytes(calibration.calibrate(files["float"].read_bytes(), feeds(files["samples"])))
    return Nothing()


def ranges(files: dict[str, Path], options: RangeOptions, out: Path, _say: Say) -> Equalized:
    """`calibrated` with narrower ranges, to `calibrated.tflite`."""
    from wherry.converters.compress import ranges as activation_ranges

    content, places = activation_ranges.narrow(
        files["calibrated"].read_bytes(), files["float"].read_bytes(), lambda: feeds(files["samples"]), options.method
    )
    (out / "calibrated.tflite").write_bytes(content)
    return Equalized(places=places)


def choose(files: dict[str, Path], _options: Nothing, out: Path, _say: Say) -> Chosen:
    """`calibrated` with the ranges with which int8 is nearest to float, to `calibrated.tflite`."""
    from wherry.converters.compress import ranges as activation_ranges

    content, method = activation_ranges.choose(
        files["calibrated"].read_bytes(), files["float"].read_bytes(), list(feeds(files["samples"]))
    )
    (out / "calibrated.tflite").write_bytes(content)
    return Chosen(method=method or "minmax")


def equalize_layers(files: dict[str, Path], _options: Nothing, out: Path, _say: Say) -> Equalized:
    """`float` with channels of like range, to `float.tflite`."""
    from wherry.converters.compress import equalize

    content, places = equalize.equalize(files["float"].read_bytes())
    (out / "float.tflite").write_bytes(content)
    return Equalized(places=places)


def correct_bias(files: dict[str, Path], _options: Nothing, out: Path, _say: Say) -> Equalized:
    """`float` with biases that make up for the rounding of weights, to `float.tflite`."""
    from wherry.converters.compress import bias

    content, places = bias.correct(files["float"].read_bytes(), feeds(files["samples"]))
    (out / "float.tflite").write_bytes(content)
    return Equalized(places=places)


def variant(files: dict[str, Path], options: VariantOptions, out: Path, _say: Say) -> Nothing:
    """`float`, or `calibrated`, to `artifact.tflite`, with operator versions that its tensors need."""
    from wherry.converters.compress import variants
    from wherry.converters.verify import versions

    if options.variant in variants.FROM_FLOAT:
        made = variants.FROM_FLOAT[options.variant](files["float"].read_bytes())
    elif options.variant == "mixed":
        made = variants.mixed(files["calibrated"].read_bytes(), frozenset(options.keep))
    else:
        made = variants.FROM_CALIBRATED[options.variant](files["calibrated"].read_bytes())
    (out / "artifact.tflite").write_bytes(versions.raise_versions(made))
    return Nothing()


def rank(files: dict[str, Path], options: RankOptions, _out: Path, say: Say) -> Ranking:
    """Every layer of `float` by what quantizing it alone costs, the most costly first."""
    from wherry.converters.compress import sensitivity

    found = sensitivity.ranked(
        files["float"].read_bytes(), files["calibrated"].read_bytes(), list(feeds(files["samples"])), say
    )
    return Ranking(
        costs=tuple(
            LayerCost(
                op=cost.op,
                tensor=cost.tensor,
                layer=options.layers.get(cost.tensor, ""),
                noise_share=cost.noise_share,
                extra_bytes=cost.extra_bytes,
            )
            for cost in found
        )
    )


def layers(files: dict[str, Path], options: LayerOptions, _out: Path, _say: Say) -> LayerErrors:
    """`artifact` against `float`, layer by layer."""
    from wherry.converters.verify import layers as layer_errors

    found = layer_errors.measure(
        files["float"].read_bytes(), files["artifact"].read_bytes(), list(feeds(files["samples"])), options.layers
    )
    return LayerErrors(
        errors=tuple(
            LayerError(
                op=error.operator,
                tensor=error.tensor,
                layer=error.layer,
                snr_db=round(error.snr_db, 2),
                rmse=error.rmse,
                saturated_share=error.saturated,
                float_low=error.float_low,
                float_high=error.float_high,
                quantized_low=error.low,
                quantized_high=error.high,
            )
            for error in found
        )
    )
