"""ONNX files: to TFLite by onnx2tf and TensorFlow's converter, their own outputs by onnxruntime.

Rules upheld here:
- The file is data: no code of it runs, and weights beside it are read from its own folder.
- Every way of converting is judged by numbers, on a random input against onnxruntime; when the first way does
  not agree, others are tried, and the best is kept. The pipeline judges again on real inputs.
- `inspect` imports neither TensorFlow nor onnxruntime.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters import flatbuffer
from wherry.converters.errors import ConversionError, ToolFailed, UnsupportedOperators
from wherry.converters.model import End, Framework, SourceModel, SourceOptions
from wherry.converters.sources import layers, lower, onnx_graph, onnx_layout, onnx_tool
from wherry.converters.sources.ends import dtype_of, first_line, unique

Array = npt.NDArray[Any]

_ENOUGH_DB = 50.0
_RECURRENT = {"LSTM", "GRU", "RNN"}


@dataclass(frozen=True)
class _Sample:
    """A random input for each input of the source, and what the source gives for it, whole shapes."""

    inputs: list[Array]
    outputs: list[Array]


@dataclass(frozen=True)
class _Candidate:
    """What one way of converting gave; `db` is the worst agreement of its outputs with the source's."""

    content: bytes
    model: SourceModel
    db: float


def inspect(path: Path, options: SourceOptions) -> None:
    """Refuse what can be seen to be wrong; imports no TensorFlow. Raises ConversionError."""
    onnx_graph.check(path, onnx_graph.read(path), options)


def build(path: Path, options: SourceOptions, scratch: Path) -> SourceModel:
    """Write the float TFLite as `float.tflite` into `scratch`. Raises ConversionError."""
    return build_as("onnx", path, options, scratch)


def build_as(framework: Framework, path: Path, options: SourceOptions, scratch: Path) -> SourceModel:
    """As `build`, for a file that was exported from `framework`."""
    path, scratch = path.resolve(), scratch.resolve()
    fixed = onnx_graph.fix(path, onnx_graph.read(path), options)
    best: _Candidate | None = None
    failed: ConversionError | None = None
    try:
        onnx_tool.check_operators(fixed)
        sample = _sample(path, fixed)
        for number, way in enumerate(_ways(fixed.proto, options)):
            try:
                candidate = _convert(framework, fixed, options, way, sample, scratch / f"onnx2tf-{number}")
            except ConversionError as error:
                failed = failed or error
                continue
            if best is None or candidate.db > best.db:
                best = candidate
            if best.db >= _ENOUGH_DB:
                break
        if best is None:
            raise failed or ToolFailed("onnx2tf gave nothing")
    except ConversionError as error:
        raise type(error)(f"{path}: {error.message}", error.fix) from error
    (scratch / "float.tflite").write_bytes(best.content)
    return best.model


def predict(path: Path, model: SourceModel, options: SourceOptions, inputs: list[Array]) -> list[Array]:
    """The source's own outputs by onnxruntime, one sample after the other as a device computes them."""
    del options
    session = _session(path)
    found: list[list[Array]] = [[] for _ in model.outputs]
    for row in range(len(inputs[0])):
        samples = [x[row].reshape(end.shape) for x, end in zip(inputs, model.inputs, strict=True)]
        for kept, value, end in zip(
            found, _run(session, model.inputs, model.outputs, samples), model.outputs, strict=True
        ):
            kept.append(value.reshape(end.sample_shape))
    return [np.stack(kept) for kept in found]


def _session(path: Path) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ToolFailed(
            f"onnxruntime cannot load it, so nothing could be compared: {first_line(error)}",
            "check the file with onnx.checker.check_model, and export it again",
        ) from error


def _run(session: Any, inputs: Sequence[End], outputs: Sequence[End | str], samples: list[Array]) -> list[Array]:
    feeds = {end.name: x.astype(end.dtype, copy=False) for end, x in zip(inputs, samples, strict=True)}
    for value in session.get_inputs():  # what nothing depends on is not in the TFLite file
        if value.name not in feeds:
            shape = [length if isinstance(length, int) else 1 for length in value.shape]
            feeds[value.name] = np.zeros(shape, _ORT_TYPES.get(value.type, "float32"))
    names = [output if isinstance(output, str) else output.name for output in outputs]
    return [np.asarray(value) for value in session.run(names, feeds)]


_ORT_TYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32", "tensor(int64)": "int64",
    "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(bool)": "bool",
}  # fmt: skip


def _sample(path: Path, fixed: onnx_graph.Fixed) -> _Sample:
    """Values that any sound model takes: small numbers, and 0 or 1 for integers, which may be indices."""
    random = np.random.default_rng(7)
    inputs: list[Array] = []
    for end in fixed.inputs:
        small = np.dtype(end.dtype).kind == "f"
        values = random.random(end.shape) if small else random.integers(0, 2, end.shape)
        inputs.append(np.asarray(values).astype(end.dtype))
    session = _session(path)
    try:
        return _Sample(inputs, _run(session, fixed.inputs, fixed.names_of_outputs, inputs))
    except Exception as error:
        shapes = ", ".join(f"{end.name} {list(end.shape)}" for end in fixed.inputs)
        raise ToolFailed(
            f"onnxruntime cannot run it with {shapes}: {first_line(error)}",
            "give shapes that the model takes with --input-shape NAME=1,3,224,224",
        ) from error


def _ways(proto: Any, options: SourceOptions) -> Iterator[onnx_tool.Way]:
    """From the best to what seldom helps."""
    every = frozenset(value.name for value in proto.graph.input)
    pictures = onnx_layout.channels_first(proto.graph) if options.layout == "nhwc" else set()
    keeps = [every - pictures, every] if pictures else [every]
    recurrent = any(node.op_type in _RECURRENT for graph in onnx_graph.graphs(proto.graph) for node in graph.node)
    for strict in (True, False):
        for kept in keeps:
            yield onnx_tool.Way(kept, strict)
            if recurrent:
                yield onnx_tool.Way(kept, strict, unrolled=True)


def _convert(
    framework: Framework,
    fixed: onnx_graph.Fixed,
    options: SourceOptions,
    way: onnx_tool.Way,
    sample: _Sample,
    folder: Path,
) -> _Candidate:
    wide = [x.astype(np.float32) if x.dtype == np.float16 else x for x in sample.inputs]
    translated = onnx_tool.translate(fixed, way, wide, folder)
    ours = _input_ends(fixed, options)
    turns = [
        onnx_layout.inverse(end.axes) if end.axes and value.name in way.kept else ()
        for end, value in zip(ours, fixed.proto.graph.input, strict=True)
    ]
    kinds = [np.dtype(np.float32) if x.dtype == np.float16 else x.dtype for x in sample.outputs]
    lowered = _lower(
        translated, _as_converted(ours), turns, kinds, unique(fixed.names_of_outputs), folder / "saved_model"
    )
    by_name = {end.name: end for end in ours}
    inputs = tuple(by_name[end.name] for end in lowered.inputs)
    of_output = dict(zip(unique(fixed.names_of_outputs), fixed.proto.graph.output, strict=True))
    nodes = [fixed.node_of(of_output[end.name].name) for end in lowered.outputs]
    layer_names = layers.name_tensors(lowered.model, onnx_tool.Nodes(translated.nodes), nodes)
    output_names = [end.name for end in lowered.outputs]
    content = lowered.content()
    feeds = {end.name: x for end, x in zip(ours, sample.inputs, strict=True)}
    computed = _compute(content, [onnx_layout.turned(end, feeds[end.name]) for end in inputs])
    wanted = dict(zip(unique(fixed.names_of_outputs), sample.outputs, strict=True))
    outputs, db = _output_ends(
        output_names, [wanted[name] for name in output_names], computed, batched=any(e.batched for e in inputs)
    )
    tools = lower.tools("onnx", "onnx2tf", "onnxsim", "onnxruntime", "tf_keras")
    return _Candidate(
        content, SourceModel(framework=framework, inputs=inputs, outputs=outputs, layers=layer_names, tools=tools), db
    )


def _input_ends(fixed: onnx_graph.Fixed, options: SourceOptions) -> list[End]:
    """With the axes that the float TFLite is to have."""
    first = onnx_layout.channels_first(fixed.proto.graph) if options.layout == "nhwc" else set()
    return [
        msgspec.structs.replace(end, axes=onnx_layout.channels_last(len(end.shape))) if value.name in first else end
        for end, value in zip(fixed.inputs, fixed.proto.graph.input, strict=True)
    ]


def _as_converted(ends: Sequence[End]) -> list[End]:
    """The ends as TensorFlow takes them: axes turned, float16 as float32."""
    return [
        End(
            name=end.name,
            shape=tuple(end.shape[axis] for axis in end.axes) if end.axes else end.shape,
            dtype="float32" if end.dtype == "float16" else end.dtype,
        )
        for end in ends
    ]


def _lower(
    translated: onnx_tool.Translated,
    ends: list[End],
    turns: list[tuple[int, ...]],
    kinds: list[Any],
    outputs: list[str],
    folder: Path,
) -> lower.Lowered:
    """Raises UnsupportedOperators with the ONNX nodes in place of onnx2tf's layers."""
    import tensorflow as tf

    def call(inputs: list[Any]) -> list[Any]:
        turned = [tf.transpose(x, axes) if axes else x for x, axes in zip(inputs, turns, strict=True)]
        return [tf.cast(y, kind) for y, kind in zip(translated.call(turned), kinds, strict=True)]

    try:
        lower.export(call, ends, _variables(call, ends), folder)
        return lower.to_float(folder, ends, outputs)
    except UnsupportedOperators as error:
        message = error.message
        for layer in sorted(translated.nodes, key=len, reverse=True):
            message = message.replace(f"{translated.model.name}/{layer}", f"node {translated.nodes[layer]}")
        raise UnsupportedOperators(message, error.fix) from error


def _variables(call: Any, ends: list[End]) -> list[Any]:
    """Those that the model reads. onnx2tf leaves some in closures, where a SavedModel would not find them."""
    import tensorflow as tf

    specs = [tf.TensorSpec(end.shape, end.dtype) for end in ends]
    with lower.translated("TensorFlow cannot trace it"):
        traced = tf.function(lambda *inputs: call(list(inputs)), autograph=False).get_concrete_function(*specs)
        return list(traced.graph.variables)


def _compute(content: bytes, inputs: list[Array]) -> list[Array]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = flatbuffer.read(content)
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    graph = model.subgraphs[0]
    for index, x in zip(graph.inputs, inputs, strict=True):
        wanted = interpreter.get_input_details()[list(graph.inputs).index(index)]["dtype"]
        interpreter.set_tensor(int(index), np.ascontiguousarray(x.astype(wanted, copy=False)))
    interpreter.invoke()
    return [interpreter.get_tensor(int(index)) for index in graph.outputs]


def _output_ends(
    names: Sequence[str], wanted: list[Array], computed: list[Array], *, batched: bool
) -> tuple[tuple[End, ...], float]:
    """The ends in the source's layout, and the worst agreement in dB. Raises ToolFailed for shapes that differ."""
    ends, worst = [], onnx_layout.EXACT_DB
    for name, source, converted in zip(names, wanted, computed, strict=True):
        found = onnx_layout.find_axes(source, converted)
        if found is None:
            raise ToolFailed(
                f"onnx2tf gives output {name!r} as {list(converted.shape)}, the model as {list(source.shape)}",
                "export the model with fixed shapes, or leave this output out",
            )
        axes, db = found
        worst = min(worst, db) if source.dtype.kind == "f" else worst
        has_batch = batched and source.ndim > 0 and source.shape[0] == 1
        dtype = dtype_of("output", name, source.dtype)
        ends.append(End(name=name, shape=source.shape, dtype=dtype, batched=has_batch, axes=axes))
    return tuple(ends), worst
