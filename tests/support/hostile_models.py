"""Real `.tflite` files that do harm by what they say, and honest ones beside them: nothing but built-in operators.

All but one take `x` and give `y`, both `[1, 4] float32`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.support.synthetic_tflite import Op, Tensor, model, pack
from wherry.protocol.manifest import TensorSpec

X, Y = Tensor(name="x"), Tensor(name="y")
SPECS = tuple(TensorSpec(name=name, shape=(1, 4), dtype="float32") for name in ("x", "y"))
GIB = 1024**3


def _ints(*values: int) -> Tensor:
    return Tensor(type="INT32", shape=(len(values),), data=np.array(values, np.int32).tobytes(), name=f"ints {values}")


def _floats(*values: float) -> Tensor:
    return Tensor(shape=(1, len(values)), data=np.array(values, np.float32).tobytes(), name=f"floats {values}")


def honest() -> bytes:
    return pack(model(_add(X, _floats(1, 2, 3, 4)), inputs=(X,), outputs=(Y,)))


def network() -> bytes:
    """Convolutions, a pool, a dense layer and a softmax, as in honest models."""
    noise = np.random.default_rng(7)

    def weights(name: str, *shape: int) -> Tensor:
        return Tensor(shape=shape, data=noise.normal(size=shape).astype(np.float32).tobytes(), name=name)

    picture, wide, deep, pooled = (
        Tensor(shape=shape, name=name)
        for name, shape in (
            ("picture", (1, 2, 2, 1)),
            ("wide", (1, 2, 2, 4)),
            ("deep", (1, 2, 2, 4)),
            ("pooled", (1, 1, 1, 4)),
        )
    )
    flat, scores = Tensor(shape=(1, 4), name="flat"), Tensor(shape=(1, 4), name="scores")
    strides = {"strideH": 1, "strideW": 1}
    steps = (
        Op("RESHAPE", (X, _ints(1, 2, 2, 1)), (picture,), options={"kind": "ReshapeOptions", "newShape": [1, 2, 2, 1]}),
        Op(
            "CONV_2D",
            (picture, weights("w1", 4, 3, 3, 1), weights("b1", 4)),
            (wide,),
            options={"kind": "Conv2DOptions", **strides},
        ),
        Op(
            "DEPTHWISE_CONV_2D",
            (wide, weights("w2", 1, 3, 3, 4), weights("b2", 4)),
            (deep,),
            options={"kind": "DepthwiseConv2DOptions", "depthMultiplier": 1, **strides},
        ),
        Op("MEAN", (deep, _ints(1, 2)), (pooled,), options={"kind": "ReducerOptions", "keepDims": True}),
        Op("RESHAPE", (pooled, _ints(1, 4)), (flat,), options={"kind": "ReshapeOptions", "newShape": [1, 4]}),
        Op(
            "FULLY_CONNECTED",
            (flat, weights("w3", 4, 4), weights("b3", 4)),
            (scores,),
            options={"kind": "FullyConnectedOptions"},
        ),
        Op("SOFTMAX", (scores,), (Y,), options={"kind": "SoftmaxOptions", "beta": 1.0}),
    )
    return pack(model(*steps, inputs=(X,), outputs=(Y,)))


PICTURE = TensorSpec(name="picture", shape=(1, 48, 48, 16), dtype="float32")
SCORES = TensorSpec(name="scores", shape=(1, 16), dtype="float32")


def picture_network(layers: int = 4) -> bytes:
    """Convolutions that take about a millisecond, from `PICTURE` to `SCORES`: for a clock, and for no harm."""
    noise = np.random.default_rng(7)
    channels = PICTURE.shape[-1]
    shape = (channels, 3, 3, channels)
    options = {"kind": "Conv2DOptions", "strideH": 1, "strideW": 1}
    bias = Tensor(shape=(channels,), data=bytes(4 * channels), name="bias")
    tensors = [Tensor(shape=PICTURE.shape, name=f"layer {number}") for number in range(layers + 1)]
    steps = []
    for number in range(layers):
        data = (noise.normal(size=shape) / 12).astype(np.float32).tobytes()
        weights = Tensor(shape=shape, data=data, name=f"weights {number}")
        steps.append(Op("CONV_2D", (tensors[number], weights, bias), (tensors[number + 1],), options=options))
    scores = Tensor(shape=SCORES.shape, name="scores")
    steps.append(Op("MEAN", (tensors[-1], _ints(1, 2)), (scores,), options={"kind": "ReducerOptions"}))
    return pack(model(*steps, inputs=(tensors[0],), outputs=(scores,)))


def countdown() -> bytes:
    """WHILE the sum of `x` is above zero, subtract: a loop that ends, with three graphs."""
    small, zero = Tensor(shape=(1,), name="small"), Tensor(shape=(1,), data=bytes(4), name="zero")
    more = Tensor(type="BOOL", shape=(1,), name="more")
    whole = _Subgraphs(model(_while((X,), (Y,)), inputs=(X,), outputs=(Y,)))
    total = Op("SUM", (X, _ints(0, 1)), (small,), options={"kind": "ReducerOptions"})
    whole.add(
        model(
            total,
            Op("GREATER", (small, zero), (more,), options={"kind": "GreaterOptions"}),
            inputs=(X,),
            outputs=(more,),
        )
    )
    whole.add(model(_add(X, _floats(-1, -1, -1, -1)), inputs=(X,), outputs=(Y,)))
    return whole.pack()


def not_a_number() -> bytes:
    return pack(model(_add(X, _floats(1, float("nan"), 3, 4)), inputs=(X,), outputs=(Y,)))


def huge_arena(size_bytes: int = 10 * GIB) -> bytes:
    """One tensor in the middle of `size_bytes`, which a file of a kilobyte asks for."""
    shape = (size_bytes // 4 // 2**20, 1024, 1024)
    huge = Tensor(shape=shape, name="huge")
    small = Tensor(shape=(1,), name="sum")
    zero = Tensor(shape=(), data=bytes(4), name="zero")
    fill = Op("FILL", (_ints(*shape), zero), (huge,), options={"kind": "FillOptions"})
    total = Op("SUM", (huge, _ints(0, 1, 2)), (small,), options={"kind": "ReducerOptions"})
    return pack(model(fill, total, _add(X, small), inputs=(X,), outputs=(Y,)))


def endless_loop() -> bytes:
    """WHILE true."""
    whole = _Subgraphs(model(_while((X,), (Y,)), inputs=(X,), outputs=(Y,)))
    whole.add(model(inputs=(X,), outputs=(_TRUE,)))
    whole.add(model(Op("ABS", (X,), (Y,)), inputs=(X,), outputs=(Y,)))
    return whole.pack()


def endless_recursion() -> bytes:
    """A loop whose body is the loop itself."""
    whole = _Subgraphs(model(_while((X,), (Y,)), inputs=(X,), outputs=(Y,)))
    whole.add(model(inputs=(X,), outputs=(_TRUE,)))
    whole.add(model(_while((X,), (Y,)), inputs=(X,), outputs=(Y,)))
    return whole.pack()


def leak(start_bytes: int = 4 * 2**20) -> bytes:
    """A variable that is twice as long after each run: it answers well until the memory is gone."""
    first = Tensor(type="INT32", shape=(start_bytes // 4,), data=bytes(start_bytes), name="first")
    handle = Tensor(type="RESOURCE", shape=(1,), name="handle")
    kept, grown = (Tensor(type="INT32", shape=(), name=name) for name in ("kept", "grown"))
    variable = Op("VAR_HANDLE", (), (handle,), options={"kind": "VarHandleOptions", "sharedName": "v", "container": ""})
    steps = (
        Op("CALL_ONCE", (), (), options={"kind": "CallOnceOptions", "initSubgraphIndex": 1}),
        variable,
        Op("READ_VARIABLE", (handle,), (kept,), options={"kind": "ReadVariableOptions"}),
        Op("CONCATENATION", (kept, kept), (grown,), options={"kind": "ConcatenationOptions", "axis": 0}),
        Op("ASSIGN_VARIABLE", (handle, grown), (), options={"kind": "AssignVariableOptions"}),
        _add(X, _floats(1, 2, 3, 4)),
    )
    whole = _Subgraphs(model(*steps, inputs=(X,), outputs=(Y,)))
    assign = Op("ASSIGN_VARIABLE", (handle, first), (), options={"kind": "AssignVariableOptions"})
    whole.add(model(variable, assign))
    return whole.pack()


_TRUE = Tensor(type="BOOL", shape=(1,), data=b"\x01", name="true")


def _add(a: Tensor, b: Tensor) -> Op:
    return Op("ADD", (a, b), (Y,), options={"kind": "AddOptions"})


def _while(given: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> Op:
    options = {"kind": "WhileOptions", "condSubgraphIndex": 1, "bodySubgraphIndex": 2}
    return Op("WHILE", given, got, options=options)


@dataclass
class _Subgraphs:
    """A model to which the graphs of others are added, with their operators and constants."""

    whole: Any
    _offsets: list[int] = field(default_factory=list)

    def add(self, other: Any) -> None:
        codes, buffers = len(self.whole.operatorCodes), len(self.whole.buffers)
        (graph,) = other.subgraphs
        for operator in graph.operators:
            operator.opcodeIndex += codes
        for tensor in graph.tensors:
            if tensor.buffer:
                tensor.buffer += buffers
        self.whole.operatorCodes += other.operatorCodes
        self.whole.buffers += other.buffers
        self.whole.subgraphs.append(graph)

    def pack(self) -> bytes:
        return pack(self.whole)
