"""TFLite files of many forms, each taken as a source: `python -m tests.support.tflite_sources DIR`."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tests.support import source_case
from tests.support.keras_sources import foreign, sequential, three_inputs
from tests.support.source_case import Cases
from wherry.converters import flatbuffer
from wherry.converters.errors import ConversionError
from wherry.converters.model import SourceOptions
from wherry.converters.sources import tflite

SHARED = Path(__file__).parents[3] / "shared" / "models"
REAL = ("mobilenet_v1_0.25_128_quant", "resnet8_float_reference", "resnet8_int8_reference")


def converted(model: Any, set_: Callable[[Any], None] = lambda converter: None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    set_(converter)
    return bytes(converter.convert())


def edited(content: bytes, edit: Callable[[Any], None]) -> bytes:
    model = flatbuffer.read(content)
    edit(model)
    return flatbuffer.write(model)


def unsigned(model: Any) -> None:
    model.signatureDefs = None


def compressed(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def half(converter: Any) -> None:
    compressed(converter)
    converter.target_spec.supported_types = [tf.float16]


def int8(converter: Any) -> None:
    rng = np.random.default_rng(3)
    compressed(converter)
    converter.representative_dataset = lambda: ([rng.normal(size=(1, 28, 28, 1)).astype("f4")] for _ in range(8))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def as_flex(model: Any) -> None:
    """As the converter writes an operator of TensorFlow."""
    model.operatorCodes[0].builtinCode, model.operatorCodes[0].deprecatedBuiltinCode = 32, 32
    model.operatorCodes[0].customCode = "FlexDigamma"


def custom(converter: Any) -> None:
    converter.allow_custom_ops = True


def broken(model: Any) -> None:
    """Not a number in the largest constant."""
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    values = np.array(largest.data, np.uint8).view(np.float32)
    values[3] = np.nan
    largest.data = values.view(np.uint8)


def misaddressed(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = np.asarray([999, 1, 2], np.int32)


def oversized(model: Any) -> None:
    tensor = next(t for t in model.subgraphs[0].tensors if flatbuffer.data(model, t) is not None)
    tensor.shape = np.asarray(tensor.shape) * 2


def recurrent() -> Any:
    x = tf_keras.Input((8, 3), batch_size=1)
    return tf_keras.Model(x, tf_keras.layers.LSTM(4)(x))


def make(directory: Path, cases: Cases) -> None:
    def add(name: str, content: bytes, options: SourceOptions | None = None) -> None:
        (directory / f"{name}.tflite").write_bytes(content)
        cases.try_(name, directory / f"{name}.tflite", options, samples=20)

    for name in REAL:
        if SHARED.is_dir():
            cases.try_(name, SHARED / f"{name}.tflite", samples=20)
    keras.utils.set_random_seed(1)
    image, several = sequential(keras), three_inputs(keras)
    plain = converted(image)
    add("plain", plain)
    add("several", converted(several))
    add("unsigned", edited(plain, unsigned))
    row = keras.Input((64,))
    wide = keras.Model(row, keras.layers.Dense(64)(row))
    add("compressed", converted(wide, compressed))  # which leaves weights below 1,024 numbers as they are
    for set_ in (half, int8):
        add(set_.__name__, converted(image, set_))
    add("foreign_flex", edited(plain, as_flex))
    add("foreign_custom", converted(foreign(keras), custom))
    add("recurrent", converted(recurrent()))
    for edit in (broken, misaddressed, oversized):
        add(edit.__name__, edited(plain, edit))
    four = keras.Input(batch_shape=(4, 10), name="table")
    table = converted(keras.Model(four, keras.layers.Dense(3)(four)))
    add("batch_of_4", table)
    add("no_batch", table, SourceOptions(input_shapes={"": (4, 10)}))
    add("wrong_signature", plain, SourceOptions(signature="sing"))
    add("text", b"not a model at all, but long enough")
    add("empty", b"")
    (directory / "fuzz.txt").write_text(fuzz(directory, plain))


def fuzz(directory: Path, content: bytes) -> str:
    """What inspect() makes of cut and changed files; anything but a ConversionError ends the process."""
    rng, path = np.random.default_rng(5), directory / "fuzzed.tflite"
    refused = cut = 0
    for length in range(8, len(content), len(content) // 60):
        path.write_bytes(content[:length])
        cut += _refused(path)
    changed = 300
    for _ in range(changed):
        damaged = bytearray(content)
        damaged[rng.integers(8, len(content))] = rng.integers(0, 256)
        path.write_bytes(damaged)
        refused += _refused(path)
    return f"{cut} of {len(range(8, len(content), len(content) // 60))} cut, {refused} of {changed} changed refused"


def _refused(path: Path) -> bool:
    try:
        tflite.inspect(path, SourceOptions())
    except ConversionError:
        return True
    return False


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    source_case.main(make, tflite, Path(sys.argv[1]))
