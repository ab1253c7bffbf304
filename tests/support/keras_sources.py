"""Keras files of many forms, each brought to float TFLite: `python -m tests.support.keras_sources DIR`."""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tf_keras

from tests.support import source_case
from tests.support.source_case import Cases
from wherry.converters.model import SourceOptions
from wherry.converters.sources import keras as source


def three_inputs(k: Any) -> Any:
    """A picture, a sound and a table to a list of two outputs; layer names that numbering could confuse."""
    inner_in = k.Input((8, 8, 4))
    x = k.layers.Conv2D(4, 3, activation="relu", name="conv2d")(inner_in)
    inner = k.Model(inner_in, k.layers.DepthwiseConv2D(3, name="conv2d_1")(x), name="inner")
    picture, sound = k.Input((16, 16, 3), name="picture"), k.Input((64, 1), name="sound")
    table = k.Input((4,), name="age-years")
    x = k.layers.Conv2D(4, 3, strides=2, padding="same", name="conv2d", use_bias=False)(picture)
    x = k.layers.ReLU(name="act")(k.layers.BatchNormalization(name="bn")(x))
    x = k.layers.Conv2D(4, 3, padding="same", name="conv2d_1")(x)
    y = k.layers.GlobalAveragePooling1D(name="pool")(k.layers.Conv1D(6, 5, activation="tanh", name="wave")(sound))
    z = k.layers.Concatenate(name="cat")([k.layers.Flatten(name="flat")(inner(x)), y, table])
    z = k.layers.Dense(8, activation="tanh", name="hidden")(z)
    kind, price = k.layers.Dense(3, activation="softmax", name="kind")(z), k.layers.Dense(1, name="price")(z)
    return k.Model([picture, sound, table], [kind, price], name="net")


def dicts(k: Any) -> Any:
    """Two inputs and two outputs in dicts, whose keys are not the names of layers."""
    a, b = k.Input((6,), name="layer_a"), k.Input((5,), name="layer_b")
    z = k.layers.Concatenate()([a, b])
    return k.Model({"zulu": a, "alpha": b}, {"size": k.layers.Dense(2)(z), "colour": k.layers.Dense(3)(z)})


def typed(k: Any, dtype: str) -> Any:
    x = k.Input((6,), dtype=dtype, name="count")
    if dtype in ("int32", "int64"):
        y = k.layers.Flatten()(k.layers.Embedding(10, 4)(x))
    else:
        y = k.layers.Rescaling(1 / 8)(x)
    return k.Model(x, k.layers.Dense(3)(y))


def sequential(k: Any) -> Any:
    return k.Sequential(
        [
            k.layers.Input((28, 28, 1)),
            k.layers.Conv2D(8, 3, strides=2, activation="relu"),
            k.layers.SeparableConv2D(8, 3),
            k.layers.BatchNormalization(),
            k.layers.GlobalAveragePooling2D(),
            k.layers.Dense(10, activation="softmax"),
        ]
    )


def recurrent(k: Any) -> Any:
    x = k.Input((20, 5))
    y = k.layers.Bidirectional(k.layers.LSTM(6, return_sequences=True))(x)
    return k.Model(x, k.layers.Dense(2)(k.layers.GRU(4)(y)))


def any_size(k: Any) -> Any:
    x = k.Input((None, None, 3), name="any")
    return k.Model(x, k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(3, 3)(x)))


def two_any_sizes(k: Any) -> Any:
    a, b = k.Input((None, 3), name="left"), k.Input((4,), name="right")
    return k.Model([a, b], k.layers.Concatenate()([k.layers.GlobalMaxPooling1D()(a), b]))


def half(k: Any) -> Any:
    policies = k.mixed_precision
    policies.set_global_policy("mixed_float16") if k is tf_keras else keras.config.set_dtype_policy("mixed_float16")
    model = sequential(k)
    policies.set_global_policy("float32") if k is tf_keras else keras.config.set_dtype_policy("float32")
    return model


def not_a_number(k: Any) -> Any:
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3, name="first"), k.layers.Dense(3, name="broken")])
    model.layers[1].kernel.assign(np.full((3, 3), np.nan))
    return model


def foreign(k: Any) -> Any:
    x = k.Input((4,))
    y = k.ops.erfinv(k.layers.Dense(4, activation="tanh", name="before")(x))
    return k.Model(x, k.layers.Dense(3)(y), name="strange")


def code(k: Any) -> Any:
    x = k.Input((4,))
    return k.Model(x, k.layers.Lambda(lambda v: v * 2.0 + 1.0, output_shape=(4,))(x))


def own_loss(k: Any) -> Any:
    """Trained with functions of the author's own, which the file names, and which nobody needs for inference."""
    x = k.Input((4,))
    model = k.Model(x, k.layers.Dense(3)(x))
    model.compile("sgd", loss=lambda y, p: (y - p) ** 2, metrics=[_error])
    return model


def _error(expected: Any, found: Any) -> Any:
    return abs(expected - found)


def stateful(k: Any) -> Any:
    x = k.Input(batch_shape=(1, 8, 3))
    return k.Model(x, k.layers.LSTM(4, stateful=True)(x))


def never_built(k: Any) -> Any:
    return k.Sequential([k.layers.Dense(4, activation="relu"), k.layers.Dense(2)])


def make(directory: Path, cases: Cases) -> None:
    def both(name: str, model: Any, options: SourceOptions | None = None) -> None:
        new, old = directory / f"{name}.keras", directory / f"{name}.h5"
        keras.utils.set_random_seed(1)
        model(keras).save(new)
        cases.try_(name, new, options)
        if old_too:
            tf_keras.utils.set_random_seed(1)
            model(tf_keras).save(old, save_format="h5")
            cases.try_(f"old-{name}", old, options)

    old_too = True
    for function in (three_inputs, dicts, sequential, recurrent, half, any_size, two_any_sizes, not_a_number, code):
        both(function.__name__, function)
    both("sized", any_size, SourceOptions(input_shapes={"": (1, 12, 10, 3)}))
    both("trusted", code, SourceOptions(trust_pickle=True))
    old_too = False
    for dtype in ("int32", "int64", "uint8", "bool", "float16"):
        both(dtype, lambda k, dtype=dtype: typed(k, dtype))
    for function in (foreign, stateful, never_built, own_loss):
        both(function.__name__, function)
    both("built", never_built, SourceOptions(input_shapes={"": (1, 7)}))
    sizes = {
        "wrong_name": {"width": (1, 8, 3)},
        "no_name": {"": (1, 8, 3)},
        "wrong_shape": {"left": (1, 8, 4)},
        "wrong_batch": {"left": (2, 8, 3)},
    }
    for name, shapes in sizes.items():
        both(name, two_any_sizes, SourceOptions(input_shapes=shapes))
    old = directory / "three_inputs.scratch" / "float.tflite"
    (directory / "first.tflite").write_bytes(old.read_bytes())
    keras_h5 = directory / "new.h5"
    sequential(keras).save(keras_h5)
    cases.try_("new_h5", keras_h5)
    tf_keras_zip = directory / "old_zip.keras"
    sequential(tf_keras).save(tf_keras_zip)
    cases.try_("old_zip", tf_keras_zip)


if __name__ == "__main__":
    source_case.main(make, source, Path(sys.argv[1]))
