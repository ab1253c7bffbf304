"""Writes the float TFLite of a Keras file and the source's own outputs: `python -m tests.support.float_file
MODEL.keras DATA.npz DIR`. A process of its own, so that the tests do not import TensorFlow."""

import sys
from pathlib import Path

import numpy as np

from wherry.converters.compress.quantize import to_float
from wherry.converters.sources import keras


def main(model: Path, data: Path, directory: Path) -> None:
    source = keras.load(keras.inspect(model))
    keras.export(source, directory / "saved_model")
    (directory / "float.tflite").write_bytes(to_float(directory / "saved_model"))
    np.save(directory / "expected.npy", keras.predict(source, np.load(data)["x"]))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
