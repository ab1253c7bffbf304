"""Writes what real quantizers make of real nets: `python -m tests.support.real_tflite DIR [FLOAT.tflite]`.

A process of its own, so that the tests do not import TensorFlow. It writes `DIR/<net>.<kind>.tflite` for the nets
`picture` and `table`: the kinds of KINDS by TensorFlow's converter, those of QUANTIZER by ai-edge-quantizer from the
float file, and those for FLOAT too (as `given.<kind>.tflite`). What TensorFlow cannot make of a net is left out.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("float", "int8", "int16x8", "dynamic", "dynamic-old", "float16")
QUANTIZER = ("dynamic_wi8_afp32", "dynamic_wi4_afp32", "weight_only_wi8_afp32")


def picture(keras: Any) -> Any:
    """Convolutions of all kinds, pools, resizing, a join, dense layers."""
    layers = keras.layers
    given = keras.Input((16, 16, 3), batch_size=1, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(given)
    y = layers.DepthwiseConv2D(3, padding="same", name="deep")(x)
    x = layers.Add(name="sum")([x, layers.Activation("swish", name="swish")(y)])
    x = layers.Conv2D(32, 3, padding="same", dilation_rate=2, name="dilated")(x)
    x = layers.Conv2D(32, 3, padding="same", groups=2, name="grouped")(x)
    x = layers.UpSampling2D(interpolation="bilinear", name="larger")(layers.MaxPooling2D(2, name="smaller")(x))
    x = layers.Conv2DTranspose(8, 3, padding="same", name="spread")(x)
    x = layers.LeakyReLU(name="leaky")(layers.ZeroPadding2D(1, name="border")(x))
    x = layers.Concatenate(name="join")([layers.AveragePooling2D(2, name="mean")(x), layers.MaxPooling2D(2)(x)])
    x = layers.Dense(64, activation="tanh", name="dense")(layers.GlobalAveragePooling2D(name="pool")(x))
    x = layers.Dense(64, activation="relu6", name="wide")(x)
    return keras.Model(given, layers.Dense(5, activation="softmax", name="head")(x))


def table(keras: Any) -> Any:
    """Two inputs, elementwise functions, attention, and a recurrent layer written out."""
    layers, ops = keras.layers, keras.ops
    a, b = keras.Input((48,), batch_size=1, name="a"), keras.Input((8, 6), batch_size=1, name="b")
    x = layers.Dense(64, activation="elu", name="first")(a)
    x = layers.Maximum(name="larger")([x, layers.Dense(64, use_bias=False, name="plain")(x)])
    s = layers.LSTM(8, unroll=True, name="memory")(layers.MultiHeadAttention(2, 4, name="attention")(b, b))
    x = layers.Concatenate(name="join")([ops.abs(x) - ops.minimum(x, 0.5), layers.PReLU(name="leak")(s)])
    x = layers.Dense(6, activation="gelu", name="last")(layers.LayerNormalization(name="norm")(x))
    x = ops.transpose(layers.Reshape((2, 3), name="fold")(x), (0, 2, 1))
    return keras.Model([a, b], [ops.sum(x, axis=1), ops.max(ops.log_softmax(x), axis=2)])


def main(directory: Path, given: Path | None = None) -> None:
    import tensorflow as tf

    tf.keras.utils.set_random_seed(3)
    for build in (picture, table):
        saved_model = directory / build.__name__
        shapes = _export(tf, build(tf.keras), saved_model)
        for kind in KINDS:
            content = _converted(tf, saved_model, shapes, kind)
            if content is not None:
                (directory / f"{build.__name__}.{kind}.tflite").write_bytes(content)
        _quantize(directory / f"{build.__name__}.float.tflite", directory, build.__name__)
    if given is not None:
        _quantize(given, directory, "given")


def _export(tf: Any, model: Any, saved_model: Path) -> dict[str, tuple[int, ...]]:
    def call(*inputs: Any) -> dict[str, Any]:
        found = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return {f"y{at}": y for at, y in enumerate(tf.nest.flatten(found))}

    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec(x.shape, tf.float32, name=x.name) for x in model.inputs]
    archive.add_endpoint("serving_default", call, input_signature=signature)
    archive.write_out(str(saved_model), verbose=False)
    return {x.name: tuple(x.shape) for x in model.inputs}


def _converted(tf: Any, saved_model: Path, shapes: dict[str, tuple[int, ...]], kind: str) -> bytes | None:
    from tensorflow.lite.python.convert_phase import ConverterError

    def samples() -> Iterator[dict[str, Any]]:
        rng = np.random.default_rng(5)
        for _ in range(8):
            yield {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if kind != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    _KINDS.get(kind, lambda *_: None)(tf, converter, samples)
    try:
        return bytes(converter.convert())
    except (ConverterError, RuntimeError) as error:
        print(f"{saved_model.name} as {kind}: {error}", file=sys.stderr)  # noqa: T201
        return None


def _int8(tf: Any, converter: Any, samples: Callable[[], Any]) -> None:
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def _int16(tf: Any, converter: Any, samples: Callable[[], Any]) -> None:
    converter.representative_dataset = samples
    kind = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [kind]


def _float16(tf: Any, converter: Any, samples: Callable[[], Any]) -> None:
    converter.target_spec.supported_types = [tf.float16]


def _old_dynamic(tf: Any, converter: Any, samples: Callable[[], Any]) -> None:
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True


_KINDS: dict[str, Callable[[Any, Any, Callable[[], Any]], None]] = {
    "int8": _int8,
    "int16x8": _int16,
    "float16": _float16,
    "dynamic-old": _old_dynamic,
}


def _quantize(source: Path, directory: Path, net: str) -> None:
    from ai_edge_quantizer import quantizer, recipe

    for kind in QUANTIZER:
        pass_ = quantizer.Quantizer(str(source), getattr(recipe, kind)())
        (directory / f"{net}.{kind}.tflite").write_bytes(bytes(pass_.quantize().quantized_model))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
