"""Names of the layers, as the source's author gave them, for the tensors of a float TFLite.

TensorFlow names a tensor after the operations that were fused into it, `act/Relu;conv/Conv2D`, the last one
first, each with its path of layers. A tensor that an operator computes belongs, in this order, to

1. the layer that holds the weights of this operator: what is fused behind them (bias, normalization,
   activation) has no tensor of its own any more;
2. the layer in its own name, the last computed first;
3. the layer which, by the source, gives this output;
4. the operation itself, where the source has no layers but only operations;
5. the layer of its first input, for what the converter put in between.

A constant belongs to the layer in its own name. What has none of these is left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wherry.converters import flatbuffer

WEIGHTED = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE", "FULLY_CONNECTED", "BATCH_MATMUL",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM",
}  # fmt: skip
_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?(:\d+)?")
_OURS = re.compile(r"(arith|tfl|std)\.|(serving_default_)?(in|out)_\d{3}|$")
_NUMBER = re.compile(r"_\d+$")


class Tree:
    """Layers by name, and what is inside of each; finds the innermost one that a path goes through.

    Keras 3 numbers every scope of a graph (`conv_1` for `conv`, `conv_1_1` for `conv_1`), Keras 2 only those
    that are used again: the scope of the whole model, `root`, tells which.
    """

    def __init__(self, root: str, children: Mapping[str, Any]) -> None:
        self._root, self._children = root, children

    def find(self, path: str) -> str:
        """`inner/conv` for `model_1/inner_1/conv_1/Relu`; empty where no layer is on the path."""
        parts = path.split("/")
        numbered = any(_NUMBER.sub("", part) == self._root and part != self._root for part in parts)
        found: list[str] = []
        children = self._children
        for part in parts[:-1]:
            stripped = _NUMBER.sub("", part)
            for name in (stripped, part) if numbered else (part, stripped):
                if name in children:
                    found.append(name)
                    children = children[name]
                    break
        return "/".join(found)

    def operation(self, path: str) -> str:  # noqa: ARG002  as of Scopes
        """None: what is in no layer is not the author's."""
        return ""


class Scopes:
    """For a source whose layers are not known: the path itself, without the operation and the calls."""

    def find(self, path: str) -> str:
        parts = [part for part in path.split("/") if not _CALL.fullmatch(part) and not _OURS.match(part)]
        return "/".join(parts[:-1])

    def operation(self, path: str) -> str:
        """The operation itself, where it is in no scope."""
        return "" if "/" in path or _OURS.match(path) or _CALL.fullmatch(path) else path


def name_tensors(model: Any, names: Tree | Scopes, outputs: Sequence[str] = ()) -> dict[str, str]:
    """From tensor names to layer names; `outputs` are the layers of the outputs, in the file's order."""
    graph = model.subgraphs[0]
    own = [_own(flatbuffer.text(tensor.name), names) for tensor in graph.tensors]
    by_output = dict(zip((int(index) for index in graph.outputs), outputs, strict=False))
    found = {index: name for index, name in enumerate(own) if name}
    for op in graph.operators or ():
        weights = _weights(model, graph, op)
        before = next((found[int(index)] for index in _of(op.inputs) if int(index) in found), "")
        for index in _of(op.outputs):
            text = flatbuffer.text(graph.tensors[index].name).split(";")[0]
            name = (own[weights] if weights is not None else "") or own[index] or by_output.get(index, "")
            name = name or names.operation(text) or before
            if name:
                found[index] = name
    return {flatbuffer.text(graph.tensors[index].name): name for index, name in sorted(found.items())}


def _own(name: str, names: Tree | Scopes) -> str:
    return next((layer for part in name.split(";") if (layer := names.find(part))), "")


def _weights(model: Any, graph: Any, op: Any) -> int | None:
    if flatbuffer.operator_name(model, op) not in WEIGHTED:
        return None
    constants = [index for index in _of(op.inputs) if flatbuffer.data(model, graph.tensors[index]) is not None]
    return max(constants, key=lambda index: len(flatbuffer.shape(graph.tensors[index])), default=None)


def _of(vector: Any) -> list[int]:
    return [] if vector is None else [int(index) for index in vector if index >= 0]
