"""What is read off a file without running it: foreign operators, ends, costs, joins of unlike ranges."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert.schema_py_generated")

from tests.support.synthetic_tflite import Op, Tensor, model
from wherry.converters.errors import UnsupportedModel, UnsupportedOperators
from wherry.converters.verify import costs, joins, operators
from wherry.protocol.manifest import Quantization, TensorSpec

X, Y, Z = (Tensor(name=name) for name in "xyz")


def constant(shape: tuple[int, ...], kind: str = "FLOAT32", scales: tuple[float, ...] = (), name: str = "w") -> Tensor:
    item = {"FLOAT32": 4, "FLOAT16": 2, "INT32": 4}.get(kind, 1)
    return Tensor(kind, shape, scales, name=name, data=bytes(int(np.prod(shape)) * item))


def test_a_refusal_names_the_layers_and_what_to_do() -> None:
    made = model(Op("FlexErf", (X,), (Y,)), Op("FlexErf", (Y,), (Z,)), Op("MyOwn", (Z,), (Tensor(name="net/odd"),)))
    with pytest.raises(UnsupportedOperators) as caught:
        operators.operators(made, {"y": "encoder.gelu"})
    assert "FlexErf (used by encoder.gelu, z); MyOwn (used by net/odd)" in caught.value.message
    assert "tanh form of GELU" in caught.value.fix
    assert "MyOwn: replace the layers" in caught.value.fix


def test_ends_without_a_signature_have_the_names_types_and_scales_of_their_tensors() -> None:
    inputs = (Tensor("INT16", (1, 4), (0.5,), name="sound"), Tensor("INT64", (1,), name="length"))
    outputs = (Tensor("BOOL", (1, 2), name="found"), Tensor("INT32", (), name="count"))
    made = model(Op("CAST", inputs, outputs), inputs=inputs, outputs=outputs)
    assert operators.tensor_specs(made) == (
        (
            TensorSpec(name="sound", shape=(1, 4), dtype="int16", quantization=Quantization(scale=0.5, zero_point=0)),
            TensorSpec(name="length", shape=(1,), dtype="int64"),
        ),
        (TensorSpec(name="found", shape=(1, 2), dtype="bool"), TensorSpec(name="count", shape=(), dtype="int32")),
    )


def test_ends_of_a_type_that_no_manifest_has_are_refused() -> None:
    words = Tensor("STRING", (1,), name="words")
    with pytest.raises(UnsupportedModel, match="words holds string values"):
        operators.tensor_specs(model(Op("CAST", (words,), (Y,)), inputs=(words,), outputs=(Y,)))


def test_multiplications_and_parameters_are_counted_by_layer() -> None:
    image, kernel = Tensor(shape=(1, 8, 8, 4), name="i"), constant((6, 3, 3, 4))
    features, flat = Tensor(shape=(1, 4, 4, 6), name="f"), Tensor(shape=(1, 96), name="flat")
    made = model(
        Op("CONV_2D", (image, kernel, constant((6,), name="b")), (features,)),
        Op("DEPTHWISE_CONV_2D", (features, constant((1, 3, 3, 6), name="dw"), None), (features,)),
        Op("RESHAPE", (features, constant((2,), "INT32", name="shape")), (flat,)),
        Op("FULLY_CONNECTED", (flat, constant((10, 96), "INT8", (0.1,), name="fc"), None), (Tensor(shape=(1, 10)),)),
        Op("BATCH_MATMUL", (Tensor(shape=(2, 3, 5)), Tensor(shape=(2, 5, 7))), (Tensor(shape=(2, 3, 7)),)),
        Op("TRANSPOSE_CONV", (X, constant((2, 3, 3, 4), name="up"), image), (Tensor(shape=(1, 16, 16, 2)),)),
    )  # fmt: skip
    found = costs.costs(made)
    assert [op.macs for op in found.operators] == [96 * 36, 96 * 9, 0, 960, 42 * 5, 256 * 18]
    assert [op.parameters for op in found.operators] == [222, 54, 0, 960, 0, 72]
    assert found.macs == sum(op.macs for op in found.operators)
    assert found.weight_bytes == (222 + 54 + 72) * 4 + 960


def test_weights_that_are_brought_to_float_belong_to_the_layer() -> None:
    stored, brought = constant((3, 4), "FLOAT16"), Tensor(shape=(3, 4), name="real")
    made = model(
        Op("DEQUANTIZE", (stored,), (brought,)),
        Op("FULLY_CONNECTED", (X, brought, None), (Y,)),
        Op("FULLY_CONNECTED", (Y, brought, None), (Z,)),
    )
    found = costs.costs(made)
    assert [op.weight_bytes for op in found.operators] == [0, 24, 24]
    assert (found.parameters, found.weight_bytes) == (12, 24), "a shared buffer counts once in all"


def test_the_planned_arena_reuses_what_is_free() -> None:
    a, b, c, d = (Tensor(shape=(n,), name=name) for n, name in ((16, "a"), (256, "b"), (256, "c"), (16, "d")))
    made = model(Op("RELU", (a,), (b,)), Op("RELU", (b,), (c,)), Op("RELU", (c,), (d,)), inputs=(a,), outputs=(d,))
    # a lives throughout; b and c at once; d goes where b was.
    assert costs.arena_planned(made) == 64 + 1024 + 1024


def test_joins_of_ranges_fifty_fold_apart_are_told() -> None:
    boxes, scores = Tensor(name="boxes"), Tensor(name="scores")
    made = model(Op("CONCATENATION", (boxes, scores), (Tensor(name="head"),)))
    (found,) = joins.uneven(made, {"boxes": (0, 640), "scores": (0.0, 1.0)}, {"scores": "net.classes"})
    assert found.ratio == 640
    assert [part.tensor for part in found.parts] == ["scores", "boxes"]
    assert "head joins boxes (0 to 640) with net.classes (0 to 1)" in found.sentence
    assert "keeps 0.4 of 255 steps" in found.sentence
    assert not joins.uneven(made, {"boxes": (0, 49), "scores": (0, 1)})
    assert joins.uneven(made, {"boxes": (600, 640), "scores": (0, 1)}), "a stored range always holds zero"
    assert not joins.uneven(made, {"boxes": (0, 640)}), "what was not calibrated is not judged"


def test_a_constant_part_of_a_join_has_its_own_range() -> None:
    grid = Tensor(shape=(2,), name="grid", data=np.array([0, 80], np.float32).tobytes())
    made = model(Op("CONCATENATION", (Tensor(name="scores"), grid), (Tensor(name="head"),)))
    assert [join.ratio for join in joins.uneven(made, {"scores": (0.0, 1.0)})] == [80]
