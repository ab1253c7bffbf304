"""Keras files: `.keras` and `.h5`, of Keras 3 and of Keras 2.

Rules upheld here:
- No code from the file is ever run: what holds code, or names a class outside of Keras, is refused
  by reading the configuration, before any Keras sees the file.
- Exactly one Keras is imported: the one that wrote the file.
- The result has one input `input` [1, ...] and one output `output` [1, ...], both float32.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wherry.converters.errors import SourceMissing, UnreadableModel, UnsafeModel, UnsupportedModel

Library = Literal["keras", "tf_keras"]

_SAVE_AGAIN = "save the whole model again with model.save(path), and copy it completely"
_BUILT_IN = ("keras", "tf_keras", "builtins")
_CODE = ("Lambda", "__lambda__")


@dataclass(frozen=True)
class KerasFile:
    """A file that was looked at and found harmless, and the library that reads it."""

    path: Path
    library: Library


@dataclass(frozen=True)
class Source:
    """A loaded model. Shapes are without the batch; `call` maps [N, ...] to [N, ...]."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    call: Callable[[Any], Any]
    variables: tuple[Any, ...]


def inspect(path: Path) -> KerasFile:
    """Decide from the file's own configuration whether and by what it may be loaded; imports no Keras."""
    if not path.is_file():
        raise SourceMissing(f"{path}: no such file", "check the path of the model")
    try:
        config, version = _READERS[path.suffix.lower()](path)
    except KeyError as error:
        raise UnsupportedModel(f"{path}: not a .keras or .h5 file", "save the model with Keras as .keras") from error
    except PermissionError as error:
        raise SourceMissing(f"{path}: not readable by this user", "change its permissions") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UnreadableModel(f"{path}: not a Keras model, truncated or damaged", _SAVE_AGAIN) from error
    _refuse_code(path, config)
    return KerasFile(path, "tf_keras" if version.startswith(("1.", "2.")) else "keras")


def load(file: KerasFile) -> Source:
    """Load the weights and check the form. Raises UnreadableModel or UnsupportedModel."""
    try:
        model = _load_model(file)  # Keras raises anything at all for a damaged file
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UnreadableModel(f"{file.path}: {file.library} cannot load it: {reason[:300]}", _SAVE_AGAIN) from error
    variables = tuple(getattr(variable, "value", variable) for variable in model.variables)
    return Source(
        _only_shape(file.path, "input", getattr(model, "inputs", None)),
        _only_shape(file.path, "output", getattr(model, "outputs", None)),
        lambda x: model(x, training=False),
        variables if file.library == "keras" else tuple(model.variables),
    )


def export(source: Source, directory: Path) -> None:
    """Write a SavedModel with the batch fixed to 1."""
    import tensorflow as tf

    module = tf.Module()
    module.kept = list(source.variables)
    signature = tf.TensorSpec((1, *source.input_shape), tf.float32, name="input")
    function = tf.function(lambda input: {"output": source.call(input)})  # noqa: A006  names the tensor
    tf.saved_model.save(module, str(directory), signatures=function.get_concrete_function(signature))


def predict(source: Source, x: npt.NDArray[np.float32], batch: int = 64) -> npt.NDArray[np.float32]:
    """The source's own outputs, [N, ...], for inputs [N, ...]."""
    return np.concatenate([np.asarray(source.call(x[i : i + batch]), np.float32) for i in range(0, len(x), batch)])


def _load_model(file: KerasFile) -> Any:
    if file.library == "tf_keras":
        import tf_keras

        return tf_keras.models.load_model(str(file.path), compile=False)
    import keras

    return keras.saving.load_model(str(file.path), compile=False, safe_mode=True)


def _read_archive(path: Path) -> tuple[Any, str]:
    """The configuration and the Keras version in a `.keras` file, which is a zip."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "config.json" not in names or archive.testzip() is not None:
            raise ValueError("no configuration, or a damaged member")
        metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
        return json.loads(archive.read("config.json")), str(metadata.get("keras_version", "3."))


def _read_hdf5(path: Path) -> tuple[Any, str]:
    """The configuration and the Keras version in an `.h5` file."""
    import h5py

    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise UnsupportedModel(f"{path}: holds no model, perhaps only its weights", _SAVE_AGAIN)
        return json.loads(file.attrs["model_config"]), str(file.attrs.get("keras_version", "2."))


_READERS = {".keras": _read_archive, ".h5": _read_hdf5, ".hdf5": _read_hdf5}


def _refuse_code(path: Path, config: Any) -> None:
    for node in _objects(config):
        name = node.get("class_name")
        if name in _CODE:
            raise UnsafeModel(
                f"{path}: has a Lambda layer, which is code inside of the file and is never run",
                "replace it by Keras layers (Rescaling, Multiply, Reshape …) and save the model again",
            )
        module = str(node.get("module") or "keras").split(".")[0]
        custom = node.get("registered_name") if ">" in str(node.get("registered_name")) else None
        if module not in _BUILT_IN or custom:
            raise UnsupportedModel(
                f"{path}: needs the class {name!r}, which is not part of Keras",
                "build the model from Keras's own layers and save it again",
            )


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in `config` that describes a Python object."""
    stack = [config]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if "class_name" in node:
                yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _only_shape(path: Path, side: str, tensors: Any) -> tuple[int, ...]:
    """The shape, without the batch, of the only input or output."""
    if not tensors:
        raise UnsupportedModel(f"{path}: the model was never built", "give it an Input layer and save it again")
    if len(tensors) != 1:
        raise UnsupportedModel(f"{path}: has {len(tensors)} {side}s, only one is supported", "split the model")
    shape, dtype = tuple(tensors[0].shape)[1:], getattr(tensors[0].dtype, "name", tensors[0].dtype)
    if any(length is None for length in shape):
        raise UnsupportedModel(
            f"{path}: {side} shape {shape} is not fixed", "save the model with every dimension but the batch given"
        )
    if dtype != "float32":
        raise UnsupportedModel(f"{path}: {side} is {dtype}, only float32 is supported", "save it with float32 ends")
    return shape
