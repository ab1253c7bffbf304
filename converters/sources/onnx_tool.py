"""onnx2tf, used as a library and only as far as the TensorFlow model.

Rules upheld here:
- It runs in a folder of ours, without network: what it would download lies there already.
- It gets a graph that is simplified and named, so that it starts no programs of its own (onnxsim), and a
  list of replacements, though empty, so that it does not search for some for minutes after an error.
- It writes no model: variants, float16 files and Keras's own SavedModel cost more than the conversion.
- It decides about axes by comparing numbers, so it gets random ones: with its own, all ones, many are alike.
"""

import importlib
import importlib.util
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.errors import Exhausted, ToolFailed, UnsupportedOperators
from wherry.converters.sources.ends import first_line
from wherry.converters.sources.layers import Scopes
from wherry.converters.sources.onnx_graph import Fixed, graphs
from wherry.converters.sources.onnx_layout import channels_last

Array = npt.NDArray[Any]

_PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CHANGE = "export the model in other operators (see the node), or cut this part off and compute it in the app"


@dataclass(frozen=True)
class Way:
    """How to ask onnx2tf. `kept` inputs stay as the source has them; of `strict`, it compares numbers at each
    node; `unrolled` recurrent layers have one copy a step."""

    kept: frozenset[str]
    strict: bool = True
    unrolled: bool = False


@dataclass(frozen=True)
class Translated:
    """The model in TensorFlow, and the ONNX node of each of its layers by the layer's name."""

    model: Any
    nodes: dict[str, str]

    def call(self, inputs: list[Any]) -> list[Any]:
        outputs = self.model(inputs if len(inputs) > 1 else inputs[0])
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


class Nodes(Scopes):
    """Finds ONNX nodes for the names of tensors, which go through the layers that onnx2tf made."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self._nodes = nodes

    def find(self, path: str) -> str:
        return next((self._nodes[part] for part in path.split("/") if part in self._nodes), "")


def check_operators(fixed: Fixed) -> None:
    """Refuse what onnx2tf has no translation for. Raises UnsupportedOperators, naming the nodes."""
    spec = importlib.util.find_spec("onnx2tf")
    folder = Path(next(iter(spec.submodule_search_locations or [""]))) / "ops" if spec else Path()
    known = {file.stem for file in folder.glob("*.py")}
    bad = [
        f"{fixed.authors.get(node.name, node.name)} ({node.op_type})"
        for graph in graphs(fixed.proto.graph)
        for node in graph.node
        if node.op_type not in known
    ]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise UnsupportedOperators(f"onnx2tf has no translation for these nodes: {', '.join(bad[:5])}{more}", _CHANGE)


def translate(fixed: Fixed, way: Way, samples: Sequence[Array], folder: Path) -> Translated:
    """`samples` are one for each input, in the source's layout. Raises ToolFailed with the node's name."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[str, Any] = {}
    proto = fixed.proto
    with _inside(folder):
        arguments = _arguments(proto, way, samples)
        tool = _tool(seen)
        said = io.StringIO()
        try:
            with redirect_stdout(said), redirect_stderr(said):
                model = tool.convert(**arguments)
        except MemoryError as error:
            raise Exhausted("onnx2tf ran out of memory", "convert on a machine with more memory") from error
        except (Exception, SystemExit) as error:
            raise _failed(fixed, error, said.getvalue()) from error
    if len(model.outputs) != len(proto.graph.output):
        raise ToolFailed(
            f"onnx2tf found {len(model.outputs)} of {len(proto.graph.output)} outputs", "leave out outputs not needed"
        )
    return Translated(model, {layer.name: node for layer, node in _owners(seen, fixed.nodes())})


def _tool(seen: dict[str, Any]) -> Any:
    """The module, made to show the TensorFlow tensor of each ONNX tensor in `seen`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    limit = sys.getrecursionlimit()
    tool: Any = importlib.import_module("onnx2tf.onnx2tf")
    sys.setrecursionlimit(limit)  # it takes the brakes off; an endless recursion would end the process
    outputs = getattr(tool.get_tf_model_outputs, "genuine", tool.get_tf_model_outputs)

    def watched(*, tf_layers_dict: dict[str, Any], output_names: list[str]) -> Any:
        seen.update({name: entry.get("tf_node") for name, entry in tf_layers_dict.items()})
        return outputs(tf_layers_dict=tf_layers_dict, output_names=output_names)

    watched.genuine = outputs  # type: ignore[attr-defined]
    tool.get_tf_model_outputs = watched
    return tool


def _arguments(proto: Any, way: Way, samples: Sequence[Array]) -> dict[str, Any]:
    """What onnx2tf is asked for; the files that it reads are written into the working directory."""
    import onnx

    onnx.save(proto, "graph.onnx")
    Path("replacements.json").write_text(json.dumps({"operations": []}))
    if not Path(_PICTURES).exists():
        np.save(_PICTURES, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    data = []
    for value, sample in zip(proto.graph.input, samples, strict=True):
        turned = sample if value.name in way.kept or sample.ndim < 3 else sample.transpose(channels_last(sample.ndim))
        np.save(f"{value.name}.npy", turned)
        data.append([value.name, f"{value.name}.npy"])
    return {
        "input_onnx_file_path": "graph.onnx",
        "output_folder_path": "written",
        "not_use_onnxsim": True,
        "not_use_opname_auto_generate": True,
        "disable_model_save": True,
        "param_replacement_file": "replacements.json",
        "keep_shape_absolutely_input_names": sorted(way.kept),
        "custom_input_op_name_np_data_path": data if all(sample.ndim for sample in samples) else None,
        "disable_strict_mode": not way.strict,
        "enable_rnn_unroll": way.unrolled,
        "replace_to_pseudo_operators": ["erf", "asin", "acos"],
        "verbosity": "error",
    }


def _owners(seen: dict[str, Any], names: dict[str, str]) -> Iterator[tuple[Any, str]]:
    """Each layer with the ONNX node it was made for: of the node's tensors, and back to those of others."""
    taken = {_layer(tensor).name for name, tensor in seen.items() if name not in names and _layer(tensor) is not None}
    for name, tensor in seen.items():
        stack = [tensor] if name in names else []
        while stack:
            current = stack.pop()
            layer = _layer(current)
            if layer is None or id(layer) in taken or layer.name in taken:
                continue
            taken.add(id(layer))
            yield layer, names[name]
            stack += list(getattr(current.node, "keras_inputs", ()))


def _layer(tensor: Any) -> Any:
    return getattr(getattr(tensor, "node", None), "layer", None)


def _failed(fixed: Fixed, error: BaseException, said: str) -> ToolFailed:
    lines = [_COLOUR.sub("", line).strip() for line in said.splitlines()]
    last = next((line for line in reversed(lines) if line.startswith("ERROR")), "")
    reason = last.removeprefix("ERROR:").strip() if isinstance(error, SystemExit) and last else _reason(error)
    wanted = getattr(error, "onnx_op_name", None)
    node = next((node for node in fixed.proto.graph.node if node.name == wanted), None)
    where = f" at node {fixed.authors[node.name]!r} ({node.op_type})" if node is not None else ""
    return ToolFailed(f"onnx2tf cannot convert it{where}: {reason}", _CHANGE)


def _reason(error: BaseException) -> str:
    """What went wrong, without the line in which Keras says where in its layers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line[:300] for line in lines if not line.startswith("Exception encountered")), first_line(error))


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Working directory and search path as onnx2tf needs them; the former is put back."""
    before, path = Path.cwd(), os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ["PATH"] = path
