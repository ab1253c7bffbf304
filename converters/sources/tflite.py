"""TFLite files: float ones, which are the canonical float file, and compressed ones, which are taken as they are.

Rules upheld here:
- Every offset, index and size is checked before a runtime sees the file; custom and Flex operators, weights
  that are no numbers, and state between calls are refused.
- A float file keeps its bytes, unless it has an open batch or no signature: then only these are set.
- A file that holds integer or half weights, or quantized tensors, was compressed by someone: `quantized`. It
  keeps its bytes even without a signature, because it is what will be shipped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wherry.converters import flatbuffer
from wherry.converters.errors import (
    BadRequest,
    SourceMissing,
    UnreadableModel,
    UnsupportedModel,
    UnsupportedOperators,
)
from wherry.converters.model import End, SourceModel, SourceOptions
from wherry.converters.sources import ends, lower
from wherry.converters.sources.ends import Array, Shape
from wherry.protocol.manifest import Quantization

_COPY_AGAIN = "copy the file again, or convert it again from its source"

_SMALL = ("INT2", "INT4", "INT8", "UINT8", "INT16")
_LOOKUP = "serving_default"


def inspect(path: Path, options: SourceOptions) -> None:
    """Raises SourceError, UnsupportedOperators and BadRequest; needs neither TensorFlow nor a runtime."""
    model = _read(path)
    _refuse_operators(path, model)
    try:
        lower.refuse_state(model)
    except UnsupportedModel as error:
        raise UnsupportedModel(f"{path}: {error.message}", error.fix) from error
    lower.refuse_numbers(path, model)
    signature = _signature(path, model, options)
    list(_inputs(model, signature, options))


def build(path: Path, options: SourceOptions, scratch: Path) -> SourceModel:
    """Write scratch/float.tflite, or scratch/source.tflite for a quantized file. Raises ConversionError."""
    inspect(path, options)
    content = path.read_bytes()
    model = flatbuffer.read(content)
    signature = _signature(path, model, options)
    inputs = tuple(_inputs(model, signature, options))
    graph, quantized = model.subgraphs[0], _is_quantized(model)
    resized = _resize(path, model, inputs)
    names = _names(graph, graph.outputs, signature.outputs if signature else None)
    outputs = tuple(lower.output_end(graph.tensors[index], name) for name, index in names)
    unnamed = signature is None or len(model.signatureDefs) > 1 or _names_missing(graph, signature)
    if resized or (unnamed and not quantized):
        flatbuffer.name_ends(model, [end.name for end in inputs], [end.name for end in outputs])
        content = flatbuffer.write(model)
    (scratch / ("source.tflite" if quantized else "float.tflite")).write_bytes(content)
    return SourceModel(framework="tflite", inputs=inputs, outputs=outputs, quantized=quantized)


def predict(path: Path, model: SourceModel, options: SourceOptions, inputs: list[Array]) -> list[Array]:  # noqa: ARG001
    """What LiteRT computes with the file itself, one sample after the other."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path), num_threads=2)
        takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
        for detail, end in zip(takes, model.inputs, strict=True):
            if tuple(detail["shape"]) != end.shape:
                interpreter.resize_tensor_input(detail["index"], end.shape)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise UnreadableModel(f"{path}: LiteRT cannot run it: {ends.first_line(error)}", _COPY_AGAIN) from error

    def call(arrays: list[Array]) -> list[Array]:
        for detail, value in zip(takes, arrays, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in gives]

    return ends.in_batches(call, model, inputs, together=False)


def _is_quantized(model: Any) -> bool:
    """Whether anything in the file was stored in less than float32."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            kind, scales = flatbuffer.type_name(tensor), getattr(tensor.quantization, "scale", None)
            scaled = scales is not None and len(scales) > 0
            half = kind == "FLOAT16" and flatbuffer.data(model, tensor) is not None
            if half or (kind in _SMALL and scaled):
                return True
    return False


def _names_missing(graph: Any, signature: Any) -> bool:
    """Whether an input or an output has no name in the signature."""
    named = (signature.inputs or [], signature.outputs or [])
    return any(
        set(map(int, indices)) != {int(entry.tensorIndex) for entry in entries}
        for indices, entries in zip((graph.inputs, graph.outputs), named, strict=True)
    )


def _read(path: Path) -> Any:
    try:
        return flatbuffer.read(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SourceMissing(f"{path}: no such file", "check the path of the model") from error
    except PermissionError as error:
        raise SourceMissing(f"{path}: not readable by this user", "change its permissions") from error
    except ValueError as error:
        raise UnreadableModel(f"{path}: {error}", _COPY_AGAIN) from error


def _refuse_operators(path: Path, model: Any) -> None:
    foreign: dict[str, str] = {}
    for graph in model.subgraphs:
        for op in graph.operators or ():
            if model.operatorCodes[op.opcodeIndex].customCode:
                outputs = [flatbuffer.text(graph.tensors[index].name) for index in op.outputs if index >= 0]
                foreign.setdefault(flatbuffer.operator_name(model, op), next(iter(outputs), ""))
    if foreign:
        named = ", ".join(f"{name} (for the tensor {tensor!r})" for name, tensor in sorted(foreign.items()))
        raise UnsupportedOperators(
            f"{path}: needs operators that no TFLite runtime has built in: {named}",
            "convert it again from its source without SELECT_TF_OPS and custom operators, "
            "and replace the layers that need them",
        )


def _signature(path: Path, model: Any, options: SourceOptions) -> Any:
    """The signature that was asked for, else serving_default, else the only one; None where there is none."""
    found = {flatbuffer.text(entry.signatureKey): entry for entry in model.signatureDefs or ()}
    wanted, listed = options.signature, ", ".join(sorted(found)) or "none"
    if wanted and wanted not in found:
        raise BadRequest(f"{path}: has no signature {wanted!r}, it has {listed}", "give one of these as --signature")
    if not wanted and len(found) > 1 and _LOOKUP not in found:
        raise BadRequest(f"{path}: has the signatures {listed}", "say which with --signature")
    chosen = found.get(wanted or _LOOKUP) or next(iter(found.values()), None)
    if chosen is not None and chosen.subgraphIndex != 0:
        raise UnsupportedModel(
            f"{path}: the signature is not of the first graph of the file", "convert it with this signature alone"
        )
    return chosen


def _names(graph: Any, indices: Any, entries: Any) -> list[tuple[str, int]]:
    """A name for each end, of the signature or of the tensor, and its tensor; in the file's order."""
    named = {int(entry.tensorIndex): flatbuffer.text(entry.name) for entry in entries or ()}
    tensors = [int(index) for index in indices]
    texts = [named.get(index) or flatbuffer.text(graph.tensors[index].name) or f"tensor {index}" for index in tensors]
    return list(zip(ends.unique(texts), tensors, strict=True))


def _inputs(model: Any, signature: Any, options: SourceOptions) -> Iterator[End]:
    graph = model.subgraphs[0]
    named = _names(graph, graph.inputs, signature.inputs if signature else None)
    ends.check_names(options, [name for name, _ in named])
    for name, index in named:
        tensor = graph.tensors[index]
        kind = flatbuffer.type_name(tensor)
        shape = ends.fixed_shape(name, _open_shape(tensor), options, only=len(named) == 1)
        told = name in options.input_shapes or "" in options.input_shapes
        if len(shape) > 1 and shape[0] != 1 and not told:
            raise UnsupportedModel(
                f"input {name!r} is {list(shape)}, with a batch of {shape[0]}",
                "convert the file again with a batch of 1; if the first length is no batch, say so with "
                f"--input-shape {'' if len(named) == 1 else f'{name}='}{','.join(map(str, shape))}",
            )
        dtype = ends.dtype_of("input", name, flatbuffer.DTYPES.get(kind, kind.lower()))
        batched = bool(shape) and shape[0] == 1
        yield End(name=name, shape=shape, dtype=dtype, batched=batched, quantization=_quantization(tensor, dtype))


def _quantization(tensor: Any, dtype: str) -> Quantization | None:
    stored = tensor.quantization
    if dtype.startswith("float") or stored is None or stored.scale is None or len(stored.scale) != 1:
        return None
    return Quantization(scale=float(stored.scale[0]), zero_point=int(stored.zeroPoint[0]))


def _open_shape(tensor: Any) -> Shape:
    signature = tensor.shapeSignature
    if signature is None or len(signature) != len(flatbuffer.shape(tensor)):
        return flatbuffer.shape(tensor)
    return tuple(None if length < 0 else int(length) for length in signature)


def _resize(path: Path, model: Any, inputs: tuple[End, ...]) -> bool:
    """Set the shapes that follow from the inputs; whether there was anything to set."""
    graph = model.subgraphs[0]
    open_ends = any(None in _open_shape(tensor) for tensor in graph.tensors)
    shapes = [flatbuffer.shape(graph.tensors[index]) for index in graph.inputs]
    if not open_ends and shapes == [end.shape for end in inputs]:
        return False
    found = _shapes(path, inputs)
    for index, tensor in enumerate(graph.tensors):
        if index in found and flatbuffer.data(model, tensor) is None:
            tensor.shape = np.asarray(found[index], np.int32)
        tensor.shapeSignature = None
    return True


def _shapes(path: Path, inputs: tuple[End, ...]) -> dict[int, tuple[int, ...]]:
    """The shape of each tensor in a run with these inputs, by LiteRT. Raises UnsupportedModel."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        for detail, end in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.resize_tensor_input(detail["index"], end.shape)
        interpreter.allocate_tensors()
        for detail, end in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], np.zeros(end.shape, end.dtype))
        interpreter.invoke()
        return {detail["index"]: tuple(map(int, detail["shape"])) for detail in interpreter.get_tensor_details()}
    except (RuntimeError, ValueError) as error:
        raise UnsupportedModel(
            f"{path}: does not run with {', '.join(str(list(end.shape)) for end in inputs)}: {ends.first_line(error)}",
            "convert it again from its source with these shapes",
        ) from error
