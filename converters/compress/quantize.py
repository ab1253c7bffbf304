"""SavedModel to TFLite: the canonical float file, and the compressed variants.

Each pass reads a SavedModel and gives the bytes of a `.tflite` file. The same input gives the same
bytes. Only operators that every TFLite runtime has built in are allowed.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.errors import UnsupportedModel, UnsupportedOperators
from wherry.protocol.conversion import Recipe

Calibration = npt.NDArray[np.float32]
"""[N, ...] real inputs."""


def to_float(saved_model: Path) -> bytes:
    """The canonical float file, which everything else is compared with."""
    return _convert(_converter(saved_model))


def to_int8(saved_model: Path, calibration: Calibration) -> bytes:
    """Full-integer int8: weights, activations, input and output."""
    import tensorflow as tf

    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return _convert(converter)


def to_dynamic(saved_model: Path, calibration: Calibration) -> bytes:  # noqa: ARG001  a pass has this form
    """int8 weights, float input and output; activations are quantized as they come."""
    import tensorflow as tf

    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return _convert(converter)


PASSES: dict[Recipe, Callable[[Path, Calibration], bytes]] = {"int8": to_int8, "dynamic": to_dynamic}


def _converter(saved_model: Path) -> Any:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def _convert(converter: Any) -> bytes:
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        return bytes(converter.convert())
    except ConverterError as error:
        foreign = sorted(set(re.findall(r"'([\w.]+)' op is neither a custom op nor a flex op", str(error))))
        if foreign:
            raise UnsupportedOperators(
                f"no TFLite runtime has the operators {', '.join(foreign)} built in",
                "replace the layers that use them",
            ) from error
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise UnsupportedModel(f"TensorFlow cannot convert it: {reason[:300]}", "simplify the model") from error
