"""Trains a small network with the old Keras and saves it as `.h5`: `python -m tests.support.old_keras TRAIN OUT`.

It has a DepthwiseConv2D, whose old configuration Keras 3 does not load.
"""

import sys
from pathlib import Path

import numpy as np
import tf_keras


def main(train: Path, out: Path) -> None:
    tf_keras.utils.set_random_seed(3)
    layers = tf_keras.layers
    network = tf_keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(8, 5, strides=3, activation="relu"),
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer=tf_keras.optimizers.Adam(1e-2), loss="sparse_categorical_crossentropy")
    with np.load(train) as data:
        network.fit(data["x"], data["y"], epochs=2, batch_size=32, verbose=0)
    network.save(out, save_format="h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
