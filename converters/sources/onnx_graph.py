"""ONNX files as graphs: read, checked, and brought to the one form that is converted.

Rules upheld here:
- What cannot work is refused before anything heavy is imported, by the name of the node, input or weight.
- The graph that is converted has fixed shapes, float32 in place of float16, no functions of its own, and no
  names but ours: `in_000`, `out_000`, `t000`, so that no tool trips over what an author called things.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wherry.converters.errors import (
    ConversionError,
    SourceMissing,
    UnreadableModel,
    UnsupportedModel,
    UnsupportedOperators,
)
from wherry.converters.model import End, SourceOptions
from wherry.converters.sources.ends import Shape, check_names, dtype_of, first_line, fixed_shape
from wherry.converters.sources.onnx_rewrite import drop_idle_slices, fuse_gelu, give_states

_STANDARD = ("", "ai.onnx")
_OLDEST_OPSET, _RAISED_OPSET = 11, 13
_EXPORT_AGAIN = "export the model to ONNX again, and copy the file completely"
# Masks and bounds are infinite on purpose where they meet these; a weight never is.
_INFINITE_AT = {"Add", "Clip", "Concat", "ConstantOfShape", "Equal", "Expand", "Gather", "Max", "Min", "Pad", "Where"}


@dataclass(frozen=True)
class Fixed:
    """The graph to convert; its inputs and outputs in the order of `inputs` and `names_of_outputs`.

    `authors`: from our names of the nodes to those that the author gave.
    """

    proto: Any
    inputs: tuple[End, ...]
    names_of_outputs: tuple[str, ...]
    authors: dict[str, str]

    def node_of(self, tensor: str) -> str:
        """The author's name for the node that computes `tensor`; empty where none does."""
        return self.nodes().get(tensor, "")

    def nodes(self) -> dict[str, str]:
        """From each tensor that is computed to the author's name of its node."""
        return {name: self.authors[node.name] for node in self.proto.graph.node for name in node.output if name}


def read(path: Path) -> Any:
    """The whole model with all its weights. Raises SourceError for every file that is not one."""
    import onnx

    if not path.is_file():
        raise SourceMissing(f"{path}: no such file", "check the path of the model")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except PermissionError as error:
        raise SourceMissing(f"{path}: not readable by this user", "change its permissions") from error
    except Exception as error:
        raise UnreadableModel(f"{path}: not an ONNX model, truncated or damaged", _EXPORT_AGAIN) from error
    if not proto.graph.node or not proto.opset_import or not proto.graph.output:
        raise UnreadableModel(f"{path}: not an ONNX model, or truncated: it has no graph", _EXPORT_AGAIN)
    _load_external(path, proto)
    return proto


def check(path: Path, proto: Any, options: SourceOptions) -> tuple[End, ...]:
    """Refuse what cannot be converted; the inputs with the shapes of one call, when all is well."""
    _check_opset(path, proto)
    _check_domains(path, proto)
    _check_weights(path, proto)
    return _input_ends(path, proto, options)


def fix(path: Path, proto: Any, options: SourceOptions) -> Fixed:
    """The graph in its one form; `proto` is used up."""
    import onnx
    from onnx import inliner, shape_inference

    inputs = check(path, proto, options)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    if _opset(proto) < _OLDEST_OPSET:
        proto = _or_same(lambda: onnx.version_converter.convert_version(proto, _RAISED_OPSET), proto)
    _widen(proto.graph)
    _set_inputs(proto.graph, inputs)
    outputs = tuple(output.name for output in proto.graph.output)
    _rename(proto.graph, [end.name for end in inputs])
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = _or_same(lambda: shape_inference.infer_shapes(proto), proto)
    simple = _simplified(inferred)
    fuse_gelu(simple)
    drop_idle_slices(simple)
    give_states(simple)
    return Fixed(simple, inputs, outputs, _rename_nodes(simple.graph))


def graphs(graph: Any) -> Iterator[Any]:
    """The graph, and those inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.output:
                    yield from graphs(inner)


def input_shape(value: Any) -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in dims)


def side_files(path: Path) -> dict[str, Path]:
    """The files beside the model that hold its weights, by their names in it. Raises SourceError as `read` does."""
    import onnx

    proto = onnx.load(str(path), load_external_data=False)
    return {name: path.parent / name for name in _external_names(proto)}


def _external_names(proto: Any) -> list[str]:
    from onnx import external_data_helper as external

    tensors = (tensor for tensor in _tensors(proto.graph) if external.uses_external_data(tensor))
    return sorted({external.ExternalDataInfo(tensor).location for tensor in tensors})


def _load_external(path: Path, proto: Any) -> None:
    from onnx import external_data_helper as external

    for name in _external_names(proto):
        if not (path.parent / name).is_file():
            raise SourceMissing(
                f"{path}: its weights are in another file, {name}, which is missing",
                f"put {name} into the folder of the model",
            )
    try:
        external.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:
        raise UnreadableModel(f"{path}: its external weights: {first_line(error)}", _EXPORT_AGAIN) from error


def _opset(proto: Any) -> int:
    return max((int(entry.version) for entry in proto.opset_import if entry.domain in _STANDARD), default=1)


def _check_opset(path: Path, proto: Any) -> None:
    import onnx

    known = onnx.defs.onnx_opset_version()
    if _opset(proto) > known:
        raise UnsupportedModel(
            f"{path}: opset {_opset(proto)} is newer than what is known here (up to {known})",
            "export the model with opset_version=17, or update the packages onnx and onnxruntime",
        )


def _check_domains(path: Path, proto: Any) -> None:
    own = {(function.domain, function.name) for function in proto.functions}
    bad = [
        f"{node.name or (node.output[0] if node.output else '')} ({node.domain}.{node.op_type})"
        for graph in graphs(proto.graph)
        for node in graph.node
        if node.domain not in _STANDARD and (node.domain, node.op_type) not in own
    ]
    if bad:
        raise UnsupportedOperators(
            f"{path}: no device runtime has the operators of these nodes: {_some(bad)}",
            "export the model with operators of standard ONNX only, or compute them outside of the model",
        )


def _check_weights(path: Path, proto: Any) -> None:
    from onnx import numpy_helper

    for graph in graphs(proto.graph):
        users: dict[str, set[str]] = {}
        for node in graph.node:
            for name in node.input:
                users.setdefault(name, set()).add(node.op_type)
        for name, tensor in _named_tensors(graph):
            if tensor.data_type not in (1, 10, 11, 16):
                continue
            values = _whole(path, name, numpy_helper.to_array, tensor)
            wrong = np.isnan(values).any() or (np.isinf(values).any() and not users.get(name, set()) <= _INFINITE_AT)
            if wrong:
                raise UnsupportedModel(
                    f"{path}: weight {name!r} holds NaN or infinite values",
                    "the training went wrong: save an earlier checkpoint, or train again with a lower learning rate",
                )


def _whole(path: Path, name: str, read_values: Callable[[Any], Any], tensor: Any) -> Any:
    try:
        return read_values(tensor)
    except Exception as error:
        raise UnreadableModel(f"{path}: weight {name!r} is damaged: {first_line(error)}", _EXPORT_AGAIN) from error


def _named_tensors(graph: Any) -> Iterator[tuple[str, Any]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield (node.output[0] if node.output else node.name), attribute.t


def _tensors(graph: Any) -> Iterator[Any]:
    for inner in graphs(graph):
        for _, tensor in _named_tensors(inner):
            yield tensor


def _input_ends(path: Path, proto: Any, options: SourceOptions) -> tuple[End, ...]:
    from onnx import helper

    constants = {tensor.name for tensor in proto.graph.initializer}
    values = [value for value in proto.graph.input if value.name not in constants]
    if not values:
        raise UnsupportedModel(f"{path}: has no inputs", "export the model with at least one input")
    check_names(options, [value.name for value in values])
    batches = {_symbol(value, 0) for value in values} - {""}
    ends = []
    for value in values:
        if not value.type.HasField("tensor_type"):
            raise UnsupportedModel(f"{path}: input {value.name!r} is not a tensor", "export it with tensors only")
        dtype = dtype_of("input", value.name, helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        own: Shape | None = tuple(
            1 if index and length is None and _symbol(value, index) in batches else length
            for index, length in enumerate(input_shape(value))
        )
        if not value.type.tensor_type.HasField("shape"):
            own = None
        try:
            shape = fixed_shape(value.name, own, options, only=len(values) == 1)
        except ConversionError as error:
            raise type(error)(f"{path}: {error.message}", error.fix) from error
        batched = bool(shape) and shape[0] == 1
        ends.append(End(name=value.name, shape=shape, dtype=dtype, batched=batched))
    return tuple(ends)


def _symbol(value: Any, index: int) -> str:
    dims = value.type.tensor_type.shape.dim
    return str(dims[index].dim_param) if len(dims) > index else ""


def _set_inputs(graph: Any, inputs: tuple[End, ...]) -> None:
    """Only true inputs stay, with fixed shapes; what was inferred from others is forgotten."""
    ends = {end.name: end for end in inputs}
    kept = [value for value in graph.input if value.name in ends]
    del graph.input[:]
    graph.input.extend(kept)
    for value in graph.input:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for length in ends[value.name].shape:
            shape.dim.add().dim_value = length
    del graph.value_info[:]


def _widen(graph: Any) -> None:
    """float16 becomes float32: TFLite's float operators compute in it, and float16 is a recipe of its own."""
    from onnx import TensorProto, numpy_helper

    for inner in graphs(graph):
        for value in (*inner.input, *inner.output, *inner.value_info):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for _, tensor in _named_tensors(inner):
            if tensor.data_type == TensorProto.FLOAT16:
                wide = numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
        for node in inner.node:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                    attribute.i = TensorProto.FLOAT


def _rename(graph: Any, inputs: list[str]) -> None:
    """Give tensors our names, everywhere; each node keeps its own, or gets that of its first output."""
    from onnx import helper

    _name_nodes(graph)
    ours = {name: f"in_{index:03d}" for index, name in enumerate(inputs)}
    for index, output in enumerate(graph.output):
        if output.name in ours or any(tensor.name == output.name for tensor in graph.initializer):
            graph.node.append(helper.make_node("Identity", [output.name], [f"out_{index:03d}"], name=output.name))
            output.name = f"out_{index:03d}"
        ours[output.name] = f"out_{index:03d}"
    for inner in graphs(graph):
        for name in [*(tensor.name for tensor in inner.initializer), *(o for node in inner.node for o in node.output)]:
            if name:
                ours.setdefault(name, f"t{len(ours):04d}")
    for inner in graphs(graph):
        for value in (*inner.input, *inner.output, *inner.initializer):
            value.name = ours.get(value.name, value.name)
        for node in inner.node:
            node.input[:] = [ours.get(name, name) for name in node.input]
            node.output[:] = [ours.get(name, name) for name in node.output]


def _name_nodes(graph: Any) -> None:
    for inner in graphs(graph):
        for node in inner.node:
            node.name = node.name or next(filter(None, node.output), "")
            node.domain = "" if node.domain in _STANDARD else node.domain


def _rename_nodes(graph: Any) -> dict[str, str]:
    """Give nodes names that are safe and occur once; the author's by ours."""
    authors = {}
    for index, node in enumerate(graph.node):
        ours = f"n{index:04d}"
        authors[ours], node.name = node.name or node.op_type, ours
    return authors


def _simplified(proto: Any) -> Any:
    """Without what can be computed now: constants, shapes, and branches that are never taken."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]  # onnxsim would import it, where it is installed, unused
    try:
        import onnxsim
    finally:
        if absent:
            del sys.modules["torch"]
    return _or_same(lambda: onnxsim.simplify(proto, certify=False)[0], proto)


def _or_same(change: Callable[[], Any], proto: Any) -> Any:
    """The changed graph, or the same where a tool does not know how: what comes out is compared anyway."""
    try:
        return change()
    except Exception:  # noqa: BLE001  tools raise anything at all
        return proto


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
