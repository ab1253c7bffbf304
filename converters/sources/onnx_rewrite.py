"""What is written anew in an ONNX graph before onnx2tf sees it, because it gets it wrong or TFLite lacks it.

- GELU, which exporters before opset 20 write as half a dozen operators around an Erf: TFLite has GELU but not
  Erf, so that most transformers would need operators that no device has.
- A Slice that keeps everything: onnx2tf cuts along the wrong axis where it has turned the axes before.
- Recurrent layers without a bias or an initial state, as onnxsim leaves those of zeros: onnx2tf fails for them.
"""

import math
from typing import Any

_DOMAIN = "com.microsoft"  # of any opset; onnx2tf looks at the operator's name only, onnxruntime knows it


def fuse_gelu(proto: Any) -> None:
    """Replace x · (1 + erf(x / √2)) · ½, in whatever order it is written, by one Gelu node, in place."""
    from onnx import helper

    graph = proto.graph
    found = _Finder(graph)
    fused = False
    for erf in [node for node in graph.node if node.op_type == "Erf"]:
        match = found.gelu(erf)
        if match is None:
            continue
        x, last, gone = match
        gelu = helper.make_node("Gelu", [x], [last.output[0]], name=last.name, domain=_DOMAIN)
        nodes = [gelu if node is last else node for node in graph.node if node is last or not found.among(node, gone)]
        kept = [_copy(node) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
        found, fused = _Finder(graph), True
    if fused and all(entry.domain != _DOMAIN for entry in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(_DOMAIN, 1))


def drop_idle_slices(proto: Any) -> None:
    """Make an Identity of each Slice with as many elements after as before, and no negative steps, in place."""
    from onnx import helper, numpy_helper

    graph = proto.graph
    shapes = _shapes(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Slice":
            continue
        before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
        steps = constants.get(node.input[4]) if len(node.input) > 4 and node.input[4] else None
        unknown = len(node.input) > 4 and node.input[4] and steps is None
        backwards = steps is not None and bool((numpy_helper.to_array(steps) < 0).any())
        if before and before == after and 0 not in before and not unknown and not backwards:
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name))


_BIASES = {"LSTM": 8, "GRU": 6}
"""How many an element of the state has."""


def give_states(proto: Any) -> None:
    """Give recurrent layers that lack them the bias and states of zeros that they compute with anyway, in place."""
    import numpy as np
    from onnx import numpy_helper

    graph = proto.graph
    shapes = _shapes(graph)
    for number, node in enumerate(node for node in graph.node if node.op_type in _BIASES):
        settings = {attribute.name: attribute for attribute in node.attribute}
        sequence = shapes.get(node.input[0], [])
        batch_first = "layout" in settings and settings["layout"].i
        if batch_first or "hidden_size" not in settings or len(sequence) != 3 or not sequence[1]:
            continue
        directions = 2 if "direction" in settings and settings["direction"].s == b"bidirectional" else 1
        hidden = settings["hidden_size"].i
        wanted = {3: (directions, _BIASES[node.op_type] * hidden), 5: (directions, sequence[1], hidden)}
        if node.op_type == "LSTM":
            wanted[6] = wanted[5]
        node.input.extend([""] * (max(wanted) + 1 - len(node.input)))
        for place in [place for place in wanted if not node.input[place]]:
            node.input[place] = f"wherry_recurrent_{number}_{place}"
            graph.initializer.append(numpy_helper.from_array(np.zeros(wanted[place], np.float32), node.input[place]))


def _shapes(graph: Any) -> dict[str, list[int]]:
    """Of tensors whose rank is known; 0 for a length that is not."""
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


class _Finder:
    """Looks along the edges of a graph."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._made = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._outputs = {value.name for value in graph.output}
        self._scalars = {
            tensor.name: float(numpy_helper.to_array(tensor).reshape(-1)[0])
            for tensor in graph.initializer
            if math.prod(tensor.dims) == 1 and tensor.data_type == 1
        }
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                values = numpy_helper.to_array(node.attribute[0].t)
                if values.size == 1 and values.dtype.kind == "f":
                    self._scalars[node.output[0]] = float(values.reshape(-1)[0])

    @staticmethod
    def among(node: Any, nodes: list[Any]) -> bool:
        return any(node.output[:] == other.output[:] for other in nodes)

    def gelu(self, erf: Any) -> tuple[str, Any, list[Any]] | None:
        """The input of the GELU around `erf`, its last node, and the nodes that it replaces."""
        scale = self._made.get(erf.input[0])
        x = self._scaled(scale, math.sqrt(0.5)) if scale is not None else None
        add = self._only_user(erf)
        if x is None or add is None or add.op_type != "Add" or self._beside(add, erf.output[0], 1.0) is None:
            return None
        gone, current, has_x, has_half = [scale, erf, add], add, False, False
        while not (has_x and has_half):
            node = self._only_user(current)
            if node is None or node.op_type not in ("Mul", "Div"):
                return None
            other = next((name for name in node.input if name != current.output[0]), "")
            if self._is(other, 0.5 if node.op_type == "Mul" else 2.0) and not has_half:
                has_half = True
            elif node.op_type == "Mul" and other == x and not has_x:
                has_x = True
            elif node.op_type == "Mul" and not has_x and not has_half and self._half_of(other, x):
                has_x = has_half = True
                if len(self._users.get(other, ())) == 1:
                    gone.append(self._made[other])
            else:
                return None
            gone.append(node)
            current = node
        return x, current, gone

    def _scaled(self, node: Any, factor: float) -> str | None:
        """The tensor that `node` multiplies by `factor`."""
        for index, name in enumerate(node.input):
            wanted = {"Mul": factor, "Div": 1 / factor if index == 1 else math.nan}.get(node.op_type, math.nan)
            if self._is(name, wanted):
                return str(node.input[1 - index])
        return None

    def _half_of(self, name: str, x: str) -> bool:
        node = self._made.get(name)
        return node is not None and len(node.input) == 2 and self._scaled(node, 0.5) == x

    def _beside(self, node: Any, name: str, value: float) -> str | None:
        return next((other for other in node.input if other != name and self._is(other, value)), None)

    def _is(self, name: str, value: float) -> bool:
        return name in self._scalars and math.isclose(self._scalars[name], value, rel_tol=1e-3)

    def _only_user(self, node: Any) -> Any:
        name = node.output[0]
        users = self._users.get(name, [])
        return users[0] if len(users) == 1 and name not in self._outputs else None


def _copy(node: Any) -> Any:
    copied = type(node)()
    copied.CopyFrom(node)
    return copied
