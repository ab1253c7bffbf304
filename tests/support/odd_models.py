"""Writes Keras models of unusual form: `python -m tests.support.odd_models DIR`."""

import sys
from pathlib import Path

import keras


def main(directory: Path) -> None:
    image = keras.Input((28, 28, 1), name="image")
    flat = keras.layers.Flatten()(image)
    other = keras.Input((4,), name="other")
    both = keras.layers.Dense(10)(keras.layers.Concatenate()([flat, other]))
    keras.Model([image, other], both).save(directory / "two_inputs.keras")
    anything = keras.Input((None, None, 1))
    keras.Model(anything, keras.layers.GlobalAveragePooling2D()(anything)).save(directory / "any_size.keras")
    foreign = keras.ops.erfinv(keras.layers.Dense(10, activation="tanh")(flat))
    keras.Model(image, foreign).save(directory / "foreign_operator.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
