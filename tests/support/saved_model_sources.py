"""SavedModels of many forms, each brought to float TFLite: `python -m tests.support.saved_model_sources DIR`."""

import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from tests.support import source_case
from tests.support.keras_sources import sequential, three_inputs
from tests.support.source_case import Cases
from wherry.converters.model import SourceOptions
from wherry.converters.sources import saved_model


class Plain(tf.Module):
    """A convolution on sounds of any length, and another function on a table."""

    def __init__(self) -> None:
        super().__init__()
        rng = tf.random.Generator.from_seed(3)
        self.kernel = tf.Variable(rng.normal((5, 1, 4)), name="kernel")
        self.dense = tf.Variable(rng.normal((4, 3)), name="dense")

    @tf.function(input_signature=[tf.TensorSpec((None, None, 1), name="sound")])
    def listen(self, sound: Any) -> Any:
        with tf.name_scope("wave"):
            y = tf.nn.relu(tf.nn.conv1d(sound, self.kernel, 1, "SAME"))
        return {"loudness": tf.reduce_mean(y, axis=1), "wave": y}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), name="row"), tf.TensorSpec((3,), name="scale")])
    def weigh(self, row: Any, scale: Any) -> Any:
        return {"weighed": row @ self.dense * scale, "echo": scale * 2.0}


def old_style(directory: Path) -> None:
    """As TensorFlow 1 exported: a graph with a session's variables, and a saver inside of the graph."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 8, 8, 2), name="picture")
        kernel = v1.get_variable("conv/kernel", (3, 3, 2, 4))
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "VALID"), name="conv/relu")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(directory), {"picture": x}, {"features": tf.reduce_mean(y, [1, 2])})


def save(directory: Path, function: Any, **signatures: Any) -> None:
    module = tf.Module()
    module.function = tf.function(function)
    specs = signatures or {"x": tf.TensorSpec((None, 4), name="x")}
    tf.saved_model.save(module, str(directory), signatures=module.function.get_concrete_function(**specs))


def write_file(x: Any) -> Any:
    tf.io.write_file("/tmp/wherry-was-here", "x")
    return {"y": x * 2.0}


def called_restore(x: Any) -> Any:
    return {
        "y": x
        + tf.raw_ops.RestoreV2(prefix="/etc/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[0]
    }


def python_call(x: Any) -> Any:
    y = tf.py_function(lambda v: v, [x], tf.float32)
    return {"y": tf.ensure_shape(y, (None, 4))}


def deep_foreign(x: Any) -> Any:
    with tf.name_scope("strange"):
        return {"y": tf.math.erfinv(x) + tf.math.bessel_i0e(x)}


def data_dependent(x: Any) -> Any:
    return {"y": tf.boolean_mask(x, x[:, 0] > 0.0)}


def text(x: Any) -> Any:
    return {"y": tf.strings.length(x)}


def not_a_number(x: Any) -> Any:
    return {"y": x * tf.constant([1.0, np.nan, 2.0, 3.0], name="broken")}


def disguise(source: Path, target: Path) -> None:
    """Give the function that is called the name of one that only saves and restores."""
    shutil.copytree(source, target)
    saved = saved_model_pb2.SavedModel.FromString((target / "saved_model.pb").read_bytes())
    renamed = text_format.MessageToString(saved).replace("__inference_called_restore_", "__inference__traced_restore_9")
    content = text_format.Parse(renamed, saved_model_pb2.SavedModel()).SerializeToString()
    (target / "saved_model.pb").write_bytes(content)


def make(directory: Path, cases: Cases) -> None:
    keras.utils.set_random_seed(1)
    three_inputs(keras).export(directory / "exported", verbose=False)
    keras.utils.set_random_seed(1)
    tf.saved_model.save(sequential(keras), str(directory / "saved"))
    old_style(directory / "old")
    plain = Plain()
    tf.saved_model.save(plain, str(directory / "plain"), signatures={"listen": plain.listen, "weigh": plain.weigh})
    for name in ("exported", "saved", "old", "plain"):
        cases.try_(name, directory / name)
    shutil.make_archive(str(directory / "packed"), "zip", directory, "exported")
    cases.try_("packed", directory / "packed.zip")
    sized = {"sound": (1, 40, 1)}
    for name, options in {
        "listen": SourceOptions(signature="listen", input_shapes=sized),
        "weigh": SourceOptions(signature="weigh"),
        "no_signature": SourceOptions(signature="sing"),
        "no_length": SourceOptions(signature="listen"),
    }.items():
        cases.try_(name, directory / "plain", options)
    refused = (write_file, called_restore, python_call, deep_foreign, data_dependent, not_a_number)
    for function in refused:
        save(directory / function.__name__, function)
        cases.try_(function.__name__, directory / function.__name__)
    save(directory / "text", text, x=tf.TensorSpec((None,), tf.string, name="x"))
    cases.try_("text", directory / "text")
    save(directory / "fixed", lambda x: {"y": x * 3.0}, x=tf.TensorSpec((1, 4), name="x"))
    cases.try_("fixed", directory / "fixed")
    disguise(directory / "called_restore", directory / "disguised")
    cases.try_("disguised", directory / "disguised")
    damage(directory, cases)


def damage(directory: Path, cases: Cases) -> None:
    for name, file in {"no_graph": "saved_model.pb", "no_index": "variables/variables.index"}.items():
        shutil.copytree(directory / "exported", directory / name)
        (directory / name / file).unlink()
        cases.try_(name, directory / name)
    shutil.copytree(directory / "exported", directory / "cut")
    graph = (directory / "cut" / "saved_model.pb").read_bytes()
    (directory / "cut" / "saved_model.pb").write_bytes(graph[: len(graph) // 2])
    cases.try_("cut", directory / "cut")
    shutil.copytree(directory / "exported", directory / "cut_weights")
    (data,) = (directory / "cut_weights" / "variables").glob("variables.data*")
    data.write_bytes(data.read_bytes()[:100])
    cases.try_("cut_weights", directory / "cut_weights")
    packed = (directory / "packed.zip").read_bytes()
    (directory / "cut.zip").write_bytes(packed[: len(packed) // 2])
    cases.try_("cut_zip", directory / "cut.zip")
    cases.try_("absent", directory / "absent")


if __name__ == "__main__":
    source_case.main(make, saved_model, Path(sys.argv[1]))
