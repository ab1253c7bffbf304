"""Small ONNX models, sound and broken."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Value = tuple[str, list[Any]]


def weights(name: str, *shape: int, seed: int = 3) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.3
    return numpy_helper.from_array(values, name)


def constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def model(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Value], held: Sequence[Any], opset: int = 17
) -> Any:
    """Inputs are (name, shape) of float32, or (name, shape, type)."""

    def value(name: str, shape: list[Any] | None, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(list(nodes), "g", [value(*i) for i in inputs], [value(*o) for o in outputs], list(held))
    domains = sorted({node.domain for node in nodes} - {""})
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def picture() -> Any:
    """NCHW with an open batch; unnamed nodes; two outputs, of which one has channels too."""
    return model(
        [
            helper.make_node("Conv", ["pixels", "w", "b"], ["c"], pads=[1, 1, 1, 1], name="stem"),
            helper.make_node("Relu", ["c"], ["features"]),
            helper.make_node("GlobalAveragePool", ["features"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flat"),
            helper.make_node("Gemm", ["f", "d"], ["scores"], name="head"),
        ],
        [("pixels", ["N", 3, 12, 10])],
        [("features", ["N", 5, 12, 10]), ("scores", ["N", 4])],
        [weights("w", 5, 3, 3, 3), weights("b", 5), weights("d", 5, 4)],
    )


def tabular() -> Any:
    """Three inputs of three types, names that tools trip over, an initializer that is listed as input too."""
    return model(
        [
            helper.make_node("Gather", ["table", "kind"], ["e"], name="look up"),
            helper.make_node("Cast", ["flag?"], ["y"], to=TensorProto.FLOAT, name="cast"),
            helper.make_node("Concat", ["/x:0", "e", "y"], ["j"], axis=1, name="join"),
            helper.make_node("MatMul", ["j", "w"], ["h"], name="/dense/MatMul"),
            helper.make_node("Sigmoid", ["h"], ["odds/0"], name="odds"),
            helper.make_node("ArgMax", ["h"], ["best"], axis=1, keepdims=0, name="best"),
        ],
        [("/x:0", ["N", 6]), ("kind", ["N"], TensorProto.INT64), ("flag?", ["N", 1], TensorProto.BOOL), ("w", [11, 3])],
        [("odds/0", ["N", 3]), ("best", ["N"], TensorProto.INT64)],
        [weights("table", 3, 4), weights("w", 11, 3)],
    )


def audio() -> Any:
    """A signal [N, 1, 400] through a convolution, and a state [2, 1, 8] that has no batch."""
    return model(
        [
            helper.make_node("Conv", ["wave", "w"], ["c"], strides=[4], kernel_shape=[8], name="frames"),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("ReduceMean", ["r"], ["m"], axes=[2], keepdims=0, name="mean"),
            helper.make_node("Add", ["state", "m"], ["next"], name="carry"),
        ],
        [("wave", ["N", 1, 400]), ("state", [2, 1, 8])],
        [("next", [2, 1, 8])],
        [weights("w", 8, 1, 8)],
    )


def gelu() -> Any:
    """As torch exports it before opset 20, on a sequence [N, T, 8], which is no picture."""
    return model(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="up"),
            helper.make_node("Div", ["h", "root"], ["s"]),
            helper.make_node("Erf", ["s"], ["e"]),
            helper.make_node("Add", ["e", "one"], ["a"]),
            helper.make_node("Mul", ["h", "a"], ["m"]),
            helper.make_node("Mul", ["m", "half"], ["y"], name="act"),
        ],
        [("x", ["N", 6, 8])],
        [("y", ["N", 6, 8])],
        [
            weights("w", 8, 8),
            constant("root", np.float32(2**0.5)),
            constant("one", np.float32(1)),
            constant("half", np.float32(0.5)),
        ],
    )


def recurrent() -> Any:
    """LSTMs without an initial state, of one and of two directions, time first as torch exports them, and a GRU."""
    return model(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            helper.make_node("LSTM", ["t", "w", "r", "b"], ["a"], hidden_size=4, name="once"),
            helper.make_node("Squeeze", ["a", "one"], ["s"]),
            helper.make_node("LSTM", ["s", "w2", "r2"], ["a2", "h"], hidden_size=3, direction="bidirectional"),
            helper.make_node("GRU", ["s", "w3", "r3"], ["a3", "g"], hidden_size=5, linear_before_reset=1),
            helper.make_node("Concat", ["h", "h"], ["two"], axis=0),
            helper.make_node("Transpose", ["two"], ["y"], perm=[1, 0, 2]),
            helper.make_node("Transpose", ["g"], ["z"], perm=[1, 0, 2]),
        ],
        [("x", ["N", 7, 6])],
        [("y", ["N", 4, 3]), ("z", ["N", 1, 5])],
        [
            *(weights("w", 1, 16, 6), weights("r", 1, 16, 4), weights("b", 1, 32), constant("one", [1])),
            *(weights("w2", 2, 12, 4), weights("r2", 2, 12, 3), weights("w3", 1, 15, 4), weights("r3", 1, 15, 5)),
        ],
    )


def half() -> Any:
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        [("x", ["N", 6], TensorProto.FLOAT16)],
        [("y", ["N", 3], TensorProto.FLOAT16)],  # type: ignore[list-item]
        [numpy_helper.from_array(np.full((6, 3), 0.25, np.float16), "w")],
    )


def foreign() -> Any:
    return model(
        [helper.make_node("Warp", ["x"], ["y"], name="warp_3", domain="acme.vision")],
        [("x", ["N", 4])],
        [("y", ["N", 4])],
        [],
    )


def untranslatable() -> Any:
    """A standard operator that onnx2tf does not know."""
    pool = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], name="odd_pool")
    return model([pool], [("x", [1, 3, 8, 8])], [("y", [1, 3, 7, 7])], [])


def too_new() -> Any:
    return model([helper.make_node("Relu", ["x"], ["y"])], [("x", [1, 4])], [("y", [1, 4])], [], opset=99)


def open_size() -> Any:
    return model(
        [helper.make_node("Conv", ["pixels", "w"], ["y"], name="stem")],
        [("pixels", ["N", 3, "H", "W"])],
        [("y", ["N", 5, None, None])],
        [weights("w", 5, 3, 3, 3)],
    )


def not_a_number() -> Any:
    broken = np.ones((4, 2), np.float32)
    broken[1, 1] = np.nan
    return model(
        [helper.make_node("MatMul", ["x", "dense.weight"], ["y"])], [("x", ["N", 4])], [("y", ["N", 2])],
        [numpy_helper.from_array(broken, "dense.weight")],
    )  # fmt: skip


def save(make: Callable[[], Any], folder: Path) -> Path:
    path = folder / f"{make.__name__}.onnx"
    onnx.save(make(), str(path))
    return path
