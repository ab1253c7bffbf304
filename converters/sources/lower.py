"""From a TensorFlow function to the canonical float TFLite.

Rules upheld here:
- Only operators that every TFLite runtime has built in; what else is needed is refused by its name and its place.
- The file has one signature with the source's own names; its inputs and outputs have fixed shapes.
- The same function gives the same bytes, in whichever process: what TensorFlow writes about itself is left out.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from wherry.converters import flatbuffer
from wherry.converters.errors import ConversionError, Exhausted, UnreadableModel, UnsupportedModel, UnsupportedOperators
from wherry.converters.model import End
from wherry.converters.sources.ends import dtype_of, first_line
from wherry.converters.sources.layers import WEIGHTED

_FOREIGN = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_PLACE = re.compile(r'loc\(callsite\((?:fused\["[^"]*", )?"([^"@]+)@[^\n]*?error: \'tf\.(\w+)\'')
_STATEFUL = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT"}
_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?|__inference.*")


@dataclass(frozen=True)
class Lowered:
    """The parsed file, and its ends under the source's names, in the order of the file."""

    model: Any
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]

    def content(self) -> bytes:
        """The bytes; the parsed file is used up."""
        return flatbuffer.write(self.model)


def tools(*packages: str) -> dict[str, str]:
    """The versions of what has a part in the bytes."""
    return {name: version(name.replace("_", "-")) for name in sorted({"tensorflow", *packages})}


def export(call: Callable[[list[Any]], list[Any]], inputs: Sequence[End], kept: Any, directory: Path) -> None:
    """Write `call` as a SavedModel with fixed shapes; `kept` holds its variables. Names are in_00, …, out_00, …"""
    import tensorflow as tf

    specs = {
        key: tf.TensorSpec(end.shape, end.dtype, name=key) for key, end in zip(_keys("in", inputs), inputs, strict=True)
    }
    module = tf.Module()
    module.kept = kept

    def signature(**arguments: Any) -> dict[str, Any]:
        outputs = call([arguments[key] for key in specs])
        return dict(zip(_keys("out", outputs), outputs, strict=True))

    with translated("TensorFlow cannot trace it with the shapes " + ", ".join(str(list(end.shape)) for end in inputs)):
        function = tf.function(signature, autograph=False).get_concrete_function(**specs)
        tf.saved_model.save(module, str(directory), signatures=function)
        _unfuse(directory / "saved_model.pb")


def to_float(saved_model: Path, inputs: Sequence[End], outputs: Sequence[str]) -> Lowered:
    """Convert what `export` wrote. Raises UnsupportedOperators, UnsupportedModel and Exhausted."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["serving_default"])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    with translated("TensorFlow cannot convert it"):
        content = bytes(converter.convert())
    model = flatbuffer.read(content)
    refuse_state(model)
    given = dict(zip(_keys("in", inputs), inputs, strict=True))
    wanted = dict(zip(_keys("out", outputs), outputs, strict=True))
    signature, graph = model.signatureDefs[0], model.subgraphs[0]
    first = tuple(given[key] for key in _ordered(signature.inputs, graph.inputs))
    names = [wanted[key] for key in _ordered(signature.outputs, graph.outputs)]
    last = tuple(output_end(graph.tensors[index], name) for index, name in zip(graph.outputs, names, strict=True))
    _clean(model)
    flatbuffer.name_ends(model, [end.name for end in first], names)
    _rename_tensors(graph, first)
    return Lowered(model, first, last)


def output_end(tensor: Any, name: str) -> End:
    """An output as the file has it. Raises UnsupportedModel where its shape depends on the data."""
    signature = tensor.shapeSignature
    if signature is not None and any(length < 0 for length in signature):
        raise UnsupportedModel(
            f"output {name!r} has a shape that depends on the data",
            "give outputs a fixed size: leave selection (non-maximum suppression, tf.where …) to the app",
        )
    dtype = dtype_of("output", name, flatbuffer.DTYPES.get(kind := flatbuffer.type_name(tensor), kind.lower()))
    shape = flatbuffer.shape(tensor)
    return End(name=name, shape=shape, dtype=dtype, batched=bool(shape) and shape[0] == 1)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """What TensorFlow raises, as an error that names what to do."""
    try:
        yield
    except ConversionError:
        raise
    except MemoryError as error:
        raise Exhausted(f"{what}: out of memory", "convert on a machine with more memory") from error
    except Exception as error:
        raise translate(error, what) from error


def translate(error: Exception, what: str) -> ConversionError:
    """The error for an exception of TensorFlow or its converter."""
    if type(error).__name__ == "ResourceExhaustedError":
        return Exhausted(f"{what}: out of memory", "convert on a machine with more memory")
    foreign = _foreign(error)
    if foreign:
        named = "; ".join(f"{name} (in {', '.join(places)})" if places else name for name, places in foreign.items())
        return UnsupportedOperators(
            f"no TFLite runtime has these operators built in: {named}",
            "replace the layers that use them by others, or compute them outside of the model",
        )
    return UnsupportedModel(f"{what}: {first_line(error)}", "simplify the model")


def _unfuse(file: Path) -> None:
    """Keep the converter from making one operator of an LSTM of Keras 2: that operator would go on from the
    state of the call before, which the source does not."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    marked = [
        function
        for meta_graph in saved.meta_graphs
        for function in meta_graph.graph_def.library.function
        if function.attr["api_implements"].s.startswith(b"lstm_")
    ]
    for function in marked:
        del function.attr["api_implements"]
    if marked:
        file.write_bytes(saved.SerializeToString(deterministic=True))


def _foreign(error: Exception) -> dict[str, list[str]]:
    """Operators that are not built in, each with the layers or nodes that hold it."""
    found: dict[str, list[str]] = {name: [] for name in sorted(set(_FOREIGN.findall(str(error))))}
    for entry in getattr(error, "errors", ()):
        name = entry.operator.name.removeprefix("tf.")
        if name in found or "op is neither" in entry.error_message:
            found.setdefault(name, []).extend(_scope(call.name) for call in entry.location.call[:1])
    for place, name in _PLACE.findall(str(error)):
        found.setdefault(name, []).append(_scope(place))
    return {name: sorted({place for place in places if place}) for name, places in found.items()}


def _scope(location: str) -> str:
    """`model/layer` of `model/layer/Op@function`; the node itself where it is in no scope."""
    parts = [part for part in location.split("@")[0].rstrip(":").split("/") if not _CALL.fullmatch(part)]
    return "/".join(parts[:-1] or parts)


def _keys(side: str, ends: Sequence[Any]) -> list[str]:
    """Names that TensorFlow takes as they are and sorts in this order."""
    return [f"{side}_{number:03d}" for number in range(len(ends))]


def _ordered(entries: Any, indices: Any) -> list[str]:
    """Names of the signature, in the order of the graph's ends; a tensor may be there twice."""
    names: dict[int, list[str]] = {}
    for entry in sorted(entries, key=lambda entry: flatbuffer.text(entry.name)):
        names.setdefault(int(entry.tensorIndex), []).append(flatbuffer.text(entry.name))
    return [names[int(index)].pop(0) for index in indices]


def refuse_state(model: Any) -> None:
    """Raises UnsupportedModel for a file whose second call would not give what the first gave."""
    names = {flatbuffer.operator_name(model, op) for graph in model.subgraphs for op in graph.operators or ()}
    kept = [tensor for graph in model.subgraphs for tensor in graph.tensors if tensor.isVariable]
    if names & _STATEFUL or kept:
        raise UnsupportedModel(
            "the model keeps state or a table between calls, which a version on a device must not",
            "make the state an input and an output of the model",
        )


def refuse_numbers(path: Path, model: Any) -> None:
    """Raises UnreadableModel for a constant with NaN, and for weights with infinity. (Masks may be infinite.)"""
    weights = {
        (number, int(index))
        for number, graph in enumerate(model.subgraphs)
        for op in graph.operators or ()
        if flatbuffer.operator_name(model, op) in WEIGHTED
        for index in op.inputs[1:]
    }
    for number, graph in enumerate(model.subgraphs):
        for index, tensor in enumerate(graph.tensors):
            stored = flatbuffer.data(model, tensor)
            if stored is None or flatbuffer.type_name(tensor) not in ("FLOAT32", "FLOAT16"):
                continue
            values = stored.view(flatbuffer.DTYPES[flatbuffer.type_name(tensor)])
            if np.isnan(values).any() or ((number, index) in weights and np.isinf(values).any()):
                raise not_finite(path, f"the tensor {flatbuffer.text(tensor.name)!r}")


def not_finite(path: Path, what: str) -> UnreadableModel:
    """The refusal of weights that are no numbers."""
    return UnreadableModel(
        f"{path}: {what} holds NaN or infinity",
        "train again with a lower learning rate or clipped gradients, or save an earlier checkpoint",
    )


def _clean(model: Any) -> None:
    """Leave out what is about the converter and not about the model."""
    for entry in model.metadata or ():
        model.buffers[entry.buffer].data = None
    model.metadata = None


def _rename_tensors(graph: Any, inputs: Sequence[End]) -> None:
    """Inputs get the source's names in place of serving_default_in_000:0."""
    taken = {flatbuffer.text(tensor.name) for tensor in graph.tensors}
    for index, end in zip(graph.inputs, inputs, strict=True):
        if end.name not in taken:
            graph.tensors[index].name = end.name
