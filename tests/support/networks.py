"""Makes small float TFLite files and data for the tests of compression: `python -m tests.support.networks DIR
[NAME …]`.

For each network `NAME.tflite` and `NAME.npz`, which holds `calibration_in_0`, `calibration_in_1`, … and
`evaluation_in_0`, …, named like the inputs of the signature: `[N, *shape without the batch]`. A process of its own, so
that the tests do not import TensorFlow.
"""

import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

Array = npt.NDArray[Any]
SAMPLES = 64
MODELS = Path(__file__).parents[3] / "shared" / "models"


def main(directory: Path, *names: str) -> None:
    for name in names or NETWORKS:
        make = (NETWORKS | {"resnet8": resnet8})[name]
        network, calibration, evaluation = make(np.random.default_rng(7))
        (directory / f"{name}.tflite").write_bytes(float_file(network))
        arrays = {f"calibration_in_{index}": array for index, array in enumerate(calibration)}
        arrays |= {f"evaluation_in_{index}": array for index, array in enumerate(evaluation)}
        np.savez(directory / f"{name}.npz", **arrays)


def float_file(network: Any) -> bytes:
    """The canonical float TFLite of a Keras model, whose inputs and outputs are named in_0, in_1, …, out_0, …"""
    import tensorflow as tf

    specs = [tf.TensorSpec((1, *each.shape[1:]), each.dtype, name=f"in_{i}") for i, each in enumerate(network.inputs)]

    def call(*inputs: Any) -> dict[str, Any]:
        found = network(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return {f"out_{i}": each for i, each in enumerate(found if isinstance(found, list | tuple) else [found])}

    module = tf.Module()
    values = [getattr(variable, "value", variable) for variable in network.variables]  # a method in tf_keras
    module.kept = [
        variable if callable(value) else value for variable, value in zip(network.variables, values, strict=True)
    ]
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures=tf.function(call).get_concrete_function(*specs))
        return bytes(tf.lite.TFLiteConverter.from_saved_model(directory).convert())


def vision(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """Convolutions with batch normalization, a depthwise one, a residual and a softmax."""
    import keras

    layers = keras.layers
    image = layers.Input((16, 16, 3))
    x = _conv_bn(layers, image, 8)
    short = x
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.Activation("relu")(layers.Add()([x, short]))
    x = _conv_bn(layers, x, 16, strides=2)
    x = layers.GlobalAveragePooling2D()(x)
    scores = layers.Dense(10, activation="softmax")(layers.Dense(64, activation="relu")(x))
    network = keras.Model(image, scores)
    _random_weights(network, rng)
    return network, [_images(rng)], [_images(rng)]


def tokens(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """Token ids (int32) and numbers: an embedding, Concatenate, and two outputs."""
    import keras

    layers = keras.layers
    ids, numbers = layers.Input((12,), dtype="int32"), layers.Input((6,))
    text = layers.Conv1D(16, 3, activation="relu")(layers.Embedding(200, 24)(ids))
    text = layers.GlobalAveragePooling1D()(text)
    both = layers.Concatenate()([text, layers.Dense(48, activation="relu")(numbers)])
    hidden = layers.Dense(40, activation="relu")(both)
    network = keras.Model([ids, numbers], [layers.Dense(5, activation="softmax")(hidden), layers.Dense(2)(hidden)])
    _random_weights(network, rng)

    def draw() -> list[Array]:
        return [
            rng.integers(0, 200, (SAMPLES, 12)).astype(np.int32),
            rng.normal(size=(SAMPLES, 6)).astype(np.float32),
        ]

    return network, draw(), draw()


def odd(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """What old kernels stumble over: groups, dilation, a transposed convolution, a dense layer that is used twice."""
    import keras

    layers = keras.layers
    image = layers.Input((16, 16, 4))
    x = layers.Conv2D(16, 3, padding="same", groups=2, activation="relu")(image)
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same")(x)
    x = layers.LeakyReLU()(layers.Conv2DTranspose(8, 2, strides=2)(x))
    x = layers.SeparableConv2D(12, 3, strides=2, padding="same", activation="relu6")(x)
    x = layers.MaxPooling2D()(x)
    shared = layers.Dense(24, activation="sigmoid")
    a, b = shared(layers.GlobalAveragePooling2D()(x)), shared(layers.GlobalMaxPooling2D()(x))
    network = keras.Model(image, layers.Dense(6)(layers.Multiply()([a, b])))
    _random_weights(network, rng)
    return network, [_images(rng, 4)], [_images(rng, 4)]


def recurrent(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """An LSTM over a series of numbers, which TFLite keeps as a loop: several subgraphs."""
    import keras

    layers = keras.layers
    series = layers.Input((20, 6))
    network = keras.Model(series, layers.Dense(3)(layers.LSTM(24)(layers.Dense(16, activation="relu")(series))))
    _random_weights(network, rng)

    def draw() -> Array:
        return rng.normal(size=(SAMPLES, 20, 6)).astype(np.float32)

    return network, [draw()], [draw()]


def resnet8(_rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """The trained network of ../shared/models, with 500 pictures to evaluate. Not made unless named."""
    import tf_keras

    def images(name: str) -> Array:
        with np.load(MODELS / name) as arrays:
            found: Array = arrays["x"][:500].astype(np.float32)
        return found

    network = tf_keras.models.load_model(MODELS / "resnet8.h5", compile=False)
    return network, [images("cifar10_calibration_300.npz")], [images("cifar10_test_1000.npz")]


def spiky(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """Three values of the calibration are a hundred times too large; evaluation has no such values."""
    import keras

    layers = keras.layers
    image = layers.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same")(image)
    x = layers.Conv2D(8, 1, activation="relu")(x)
    scores = layers.Dense(10)(layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="relu")(x)))
    network = keras.Model(image, scores)
    _random_weights(network, rng)
    calibration = _images(rng)
    calibration[[5, 20, 40], [3, 8, 12], 7, [0, 1, 2]] = 300.0
    return network, [calibration], [_images(rng)]


def unequal(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """The same function with channels whose ranges lie up to a thousand apart, between pairs of layers."""
    import keras

    layers = keras.layers
    image = layers.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    scores = layers.Dense(10)(layers.Dense(24, activation="relu")(x))
    network = keras.Model(image, scores)
    _random_weights(network, rng)
    weighted = [layer for layer in network.layers if layer.weights]
    for first, second in itertools.pairwise(weighted):
        kernel, bias = (np.asarray(value) for value in first.get_weights())
        scales = np.exp(rng.uniform(-3.5, 3.5, len(bias))).astype(np.float32)
        first.set_weights([_times(kernel, scales, depthwise="depthwise" in first.name), bias * scales])
        kernel, bias = (np.asarray(value) for value in second.get_weights())
        second.set_weights([kernel / scales[:, None], bias])
    return network, [_images(rng)], [_images(rng)]


def _times(kernel: Array, scales: Array, *, depthwise: bool) -> Array:
    return kernel * (scales[:, None] if depthwise else scales)


def offset(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """All inputs lie near 1, so that rounded weights shift the mean of whole layers."""
    import keras

    layers = keras.layers
    image = layers.Input((12, 12, 8))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    network = keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
    _random_weights(network, rng)

    def draw() -> Array:
        return (1 + rng.normal(0, 0.05, (SAMPLES, 12, 12, 8))).astype(np.float32)

    return network, [draw()], [draw()]


def delicate(rng: np.random.Generator) -> tuple[Any, Sequence[Array], Sequence[Array]]:
    """One layer's outputs are a small signal on a large offset, which the next takes away: eight bits lose it."""
    import keras

    layers = keras.layers
    given = layers.Input((20,))
    hidden = layers.Dense(32, activation="relu")(given)
    raised = layers.Dense(32, name="raised")(hidden)
    lowered = layers.Dense(32, activation="relu", name="lowered")(raised)
    network = keras.Model(given, layers.Dense(6)(lowered))
    _random_weights(network, rng)
    kernel, bias = (np.asarray(value) for value in network.get_layer("lowered").get_weights())
    large = np.float32(200)
    network.get_layer("lowered").set_weights([kernel, bias - large * kernel.sum(axis=0)])
    kernel, bias = (np.asarray(value) for value in network.get_layer("raised").get_weights())
    network.get_layer("raised").set_weights([kernel, bias + large])
    return (
        network,
        [rng.normal(size=(SAMPLES, 20)).astype(np.float32)],
        [rng.normal(size=(SAMPLES, 20)).astype(np.float32)],
    )


def _conv_bn(layers: Any, x: Any, filters: int, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(layers.BatchNormalization()(x))


def _random_weights(network: Any, rng: np.random.Generator) -> None:
    """Weights that keep the size of what passes through, and biases and statistics that are not 0 and 1."""
    for weight in network.weights:
        shape = tuple(weight.shape)
        if len(shape) > 1:
            inputs = int(np.prod(shape[:2])) if "depthwise" in weight.path else int(np.prod(shape[:-1]))
            weight.assign(rng.normal(0, np.sqrt(2 / inputs), shape))
        elif "gamma" in weight.path or "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, shape))
        else:
            weight.assign(rng.normal(0, 0.1, shape))


def _images(rng: np.random.Generator, channels: int = 3) -> Array:
    """[N, 16, 16, channels], smooth as pictures are."""
    small = rng.normal(size=(SAMPLES, 4, 4, channels))
    smooth: Array = np.kron(small, np.ones((1, 4, 4, 1))) + rng.normal(0, 0.1, (SAMPLES, 16, 16, channels))
    return smooth.astype(np.float32)


NETWORKS: dict[str, Callable[[np.random.Generator], tuple[Any, Sequence[Array], Sequence[Array]]]] = {
    "vision": vision,
    "tokens": tokens,
    "odd": odd,
    "recurrent": recurrent,
    "spiky": spiky,
    "unequal": unequal,
    "offset": offset,
    "delicate": delicate,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
