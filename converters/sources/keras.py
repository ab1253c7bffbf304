"""Keras files, `.keras` and `.h5`, of Keras 3 and of Keras 2: Sequential and Functional models.

Rules upheld here:
- No code from the file is run, unless the user trusts it (`keras_file`).
- Inputs and outputs have the names that the author gave: the keys of a dict, else the names of the layers.
- Layers that compute in 16 bits do so in 32, here and in the float TFLite, with the weights as they are.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from wherry.converters.errors import UnreadableModel, UnsupportedModel
from wherry.converters.model import End, SourceModel, SourceOptions
from wherry.converters.sources import ends, keras_file, layers, lower
from wherry.converters.sources.ends import Array
from wherry.converters.sources.keras_file import SAVE_AGAIN, KerasFile


def inspect(path: Path, options: SourceOptions) -> None:
    """Raises SourceError for what can be refused without any Keras."""
    keras_file.look(path, trust=options.trust_pickle)


def build(path: Path, options: SourceOptions, scratch: Path) -> SourceModel:
    """Write scratch/float.tflite. Raises ConversionError."""
    loaded = _load(keras_file.look(path, trust=options.trust_pickle), options)
    _refuse_numbers(path, loaded)
    ends.check_names(options, loaded.input_names)
    inputs = loaded.inputs(options)
    kept = [getattr(variable, "value", variable) for variable in loaded.model.variables]
    lower.export(
        loaded.call, inputs, kept if loaded.library == "keras" else loaded.model.variables, scratch / "saved_model"
    )
    lowered = lower.to_float(scratch / "saved_model", inputs, loaded.output_names)
    by_output = dict(zip(loaded.output_names, loaded.output_layers, strict=True))
    tree = layers.Tree(loaded.model.name, _tree(loaded.model))
    named = layers.name_tensors(lowered.model, tree, [by_output[end.name] for end in lowered.outputs])
    (scratch / "float.tflite").write_bytes(lowered.content())
    return SourceModel(
        framework=loaded.library,
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        layers=named,
        tools=lower.tools(loaded.library),
    )


def predict(path: Path, model: SourceModel, options: SourceOptions, inputs: list[Array]) -> list[Array]:
    """The model's own outputs, called with training=False."""
    loaded = _load(keras_file.look(path, trust=options.trust_pickle), options)
    place = [[end.name for end in model.inputs].index(name) for name in loaded.input_names]
    wanted = [loaded.output_names.index(end.name) for end in model.outputs]

    def call(arrays: list[Array]) -> list[Array]:
        outputs = loaded.call([arrays[index] for index in place])
        return [np.asarray(outputs[index]) for index in wanted]

    with lower.translated(f"{path}: {loaded.library} cannot run it"):
        return ends.in_batches(call, model, inputs)


@dataclass(frozen=True)
class _Loaded:
    """A model with flat inputs and outputs; `output_layers` are the layers that give the outputs."""

    library: keras_file.Library
    model: Any
    input_names: list[str]
    output_names: list[str]
    output_layers: list[str]

    def call(self, inputs: Sequence[Any]) -> list[Any]:
        pack, flatten = _structure(self.library)
        structure = _inner(self.model, self.library)[0]
        return list(flatten(self.model(pack(structure, list(inputs)), training=False)))

    def inputs(self, options: SourceOptions) -> tuple[End, ...]:
        found = []
        for name, tensor in zip(self.input_names, self.model.inputs, strict=True):
            shape = ends.fixed_shape(name, (None, *tuple(tensor.shape)[1:]), options, only=len(self.input_names) == 1)
            found.append(End(name=name, shape=shape, dtype=ends.dtype_of("input", name, tensor.dtype)))
        return tuple(found)


def _load(file: KerasFile, options: SourceOptions) -> _Loaded:
    stat = file.path.stat()
    return _load_once(file, options.input_shapes.get(""), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _load_once(file: KerasFile, shape: tuple[int, ...] | None, *_changed: int) -> _Loaded:
    """Load the weights. Raises UnreadableModel, and UnsupportedModel where the ends are not known."""
    try:
        model = _load_model(file)
    except Exception as error:  # Keras raises anything at all for a damaged file
        reason = ends.first_line(error)
        raise UnreadableModel(f"{file.path}: {file.library} cannot load it: {reason}", SAVE_AGAIN) from error
    if not getattr(model, "inputs", None) and shape is not None:
        with lower.translated(f"{file.path}: cannot be built with --input-shape"):
            model.build((None, *shape[1:]))
    if not getattr(model, "inputs", None) or not model.outputs:
        raise UnsupportedModel(
            f"{file.path}: the model was never built, so its inputs are not known",
            "give --input-shape 1,224,224,3, or give it an Input layer and save it again",
        )
    if any(getattr(layer, "stateful", False) and getattr(layer, "cell", None) for layer in model.layers):
        raise UnsupportedModel(
            f"{file.path}: a recurrent layer keeps its state between calls", "save it with stateful=False"
        )
    inputs, outputs = _inner(model, file.library)
    producers = [_producer(tensor) for tensor in model.outputs]
    return _Loaded(
        file.library,
        model,
        ends.unique(_names(inputs, [_clean(tensor) for tensor in model.inputs])),
        ends.unique(_names(outputs, producers)),
        producers,
    )


def _load_model(file: KerasFile) -> Any:
    with tempfile.TemporaryDirectory(prefix="wherry-keras-") as scratch:
        path = keras_file.in_float32(file, Path(scratch)) if file.half else file.path
        if file.library == "tf_keras":
            import tf_keras

            return tf_keras.models.load_model(str(path), compile=False, safe_mode=not file.runs_code)
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras

        return keras.saving.load_model(str(path), compile=False, safe_mode=not file.runs_code)


def _structure(library: str) -> tuple[Any, Any]:
    """How the library packs flat values into the structure of a model's inputs, and flattens outputs."""
    if library == "tf_keras":
        import tensorflow as tf

        return tf.nest.pack_sequence_as, tf.nest.flatten
    import keras

    return keras.tree.pack_sequence_as, keras.tree.flatten


def _inner(model: Any, library: str) -> tuple[Any, Any]:
    """The structures of the inputs and of the outputs: a tensor, a list, a tuple or a dict."""
    kind = "_nested_{}" if library == "tf_keras" else "_{}_struct"
    functional = getattr(model, "_functional", None) or model  # which a Sequential of Keras 3 has inside
    inputs, outputs = (getattr(functional, kind.format(side), None) for side in ("inputs", "outputs"))
    return model.inputs[0] if inputs is None else inputs, model.outputs[0] if outputs is None else outputs


def _names(structure: Any, layer_names: list[str]) -> list[str]:
    """The keys of a flat dict, in the order in which it is flattened; else the names of the layers."""
    if isinstance(structure, dict) and len(structure) == len(layer_names):
        return sorted(structure)
    return layer_names


def _producer(tensor: Any) -> str:
    """The layer that gives the tensor."""
    history = getattr(tensor, "_keras_history", None)
    layer = getattr(history, "layer", None) or getattr(history, "operation", None)
    return str(getattr(layer, "name", "") or tensor.name)


def _clean(tensor: Any) -> str:
    return _producer(tensor).split(":")[0]


def _tree(model: Any) -> dict[str, Any]:
    """The layers by name, with what is inside of each: of models, and of wrappers such as TimeDistributed."""
    found: dict[str, Any] = {}
    inside = [*getattr(model, "layers", ())]
    inside += [getattr(model, name) for name in ("layer", "forward_layer", "backward_layer") if hasattr(model, name)]
    for operation in getattr(model, "operations", ()):
        found.setdefault(operation.name, {})
    for layer in inside:
        found[layer.name] = _tree(layer)
    return found


def _refuse_numbers(path: Path, loaded: _Loaded) -> None:
    for variable in loaded.model.variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            name = getattr(variable, "path", None) or variable.name
            raise lower.not_finite(path, f"the variable {name!r}")
