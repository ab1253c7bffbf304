"""Writes the float TFLite of a Keras file and the source's own outputs: `python -m tests.support.float_file
MODEL.keras DATA.npz DIR`. A process of its own, so that the tests do not import TensorFlow."""

import sys
from pathlib import Path

import numpy as np

from wherry.converters.model import SourceOptions
from wherry.converters.passes.sources import module


def main(path: Path, data: Path, directory: Path) -> None:
    keras, options = module("keras"), SourceOptions()
    model = keras.build(path, options, directory)
    (outputs,) = keras.predict(path, model, options, [np.load(data)["x"].astype(np.float32)])
    np.save(directory / "expected.npy", outputs)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
