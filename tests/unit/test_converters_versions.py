"""Operator versions follow from the tensors, whatever the file says."""

from typing import Any

import pytest

pytest.importorskip("ai_edge_litert.schema_py_generated")

from tests.support.synthetic_tflite import Op, Tensor, model, pack
from wherry.converters.verify import floors, operators, version_rules, versions
from wherry.protocol.manifest import Operator

X, Y = Tensor(name="x"), Tensor(name="y")
PER_CHANNEL = Tensor("INT8", (3, 4), (0.1, 0.2, 0.3), name="w")
PER_TENSOR = Tensor("INT8", (3, 4), (0.1,), name="w")
BIAS = Tensor(shape=(3,), name="b")
PICTURE = (1, 8, 8, 4)


def q(kind: str, shape: tuple[int, ...] = (1, 4), scale: float = 0.1, name: str = "") -> Tensor:
    return Tensor(kind, shape, (scale,), name=name)


def dense(weights: Tensor, *, x: Tensor = X, y: Tensor = Y, bias: Tensor | None = BIAS, **options: Any) -> Op:
    return Op("FULLY_CONNECTED", (x, weights, bias), (y,), options={"kind": "FullyConnectedOptions"} | options)


def conv(code: str, x: Tensor, weights: Tensor, y: Tensor, bias: Tensor, **options: Any) -> Op:
    kind = "Conv2DOptions" if code == "CONV_2D" else "DepthwiseConv2DOptions"
    return Op(code, (x, weights, bias), (y,), options={"kind": kind} | options)


def weights(kind: str, shape: tuple[int, ...], scales: int = 1) -> Tensor:
    return Tensor(kind, shape, (0.1,) * scales, name="w")


IMAGE, IMAGE8, IMAGE16 = Tensor(shape=PICTURE), q("INT8", PICTURE), q("INT16", PICTURE)
B, B32, B64 = Tensor(shape=(6,)), q("INT32", (6,)), q("INT64", (6,))
KERNEL = (6, 3, 3, 4)
DEEP = (1, 3, 3, 4)
CENTRES = {"kind": "ResizeBilinearOptions", "halfPixelCenters": True}

CASES = [
    ("float dense", dense(Tensor(shape=(3, 4))), 1),
    ("shuffled weights", dense(weights("UINT8", (3, 4)), weightsFormat=1), 2),
    ("hybrid dense, one scale", dense(PER_TENSOR), 3),
    ("hybrid dense, asymmetric", dense(PER_TENSOR, asymmetricQuantizeInputs=True), 9),
    ("hybrid dense, a scale a channel", dense(PER_CHANNEL, asymmetricQuantizeInputs=True), 12),
    ("hybrid dense with int4", dense(weights("INT4", (3, 4), 3)), 12),
    ("int8 dense", dense(PER_CHANNEL, x=q("INT8"), y=q("INT8", name="y")), 4),
    ("dense without operand for the bias", Op("FULLY_CONNECTED", (X, Tensor(shape=(3, 4))), (Y,)), 6),
    ("dense that keeps dimensions", dense(Tensor(shape=(3, 4)), keepNumDims=True), 5),
    ("int4 dense", dense(weights("INT4", (3, 4)), x=q("INT8"), y=q("INT8", name="y")), 10),
    ("16x8 dense, bias of 64 bits", dense(PER_CHANNEL, x=q("INT16"), y=q("INT16"), bias=q("INT64", (3,))), 7),
    ("16x8 dense, bias of 32 bits", dense(PER_CHANNEL, x=q("INT16"), y=q("INT16"), bias=q("INT32", (3,))), 11),
    ("float convolution", conv("CONV_2D", IMAGE, Tensor(shape=KERNEL), IMAGE, B), 1),
    ("hybrid convolution", conv("CONV_2D", IMAGE, weights("INT8", KERNEL), IMAGE, B), 2),
    ("hybrid convolution by channel", conv("CONV_2D", IMAGE, weights("INT8", KERNEL, 6), IMAGE, B), 5),
    ("int8 convolution", conv("CONV_2D", IMAGE8, weights("INT8", KERNEL, 6), IMAGE8, B32), 3),
    ("int4 convolution", conv("CONV_2D", IMAGE8, weights("INT4", KERNEL, 6), IMAGE8, B32), 7),
    ("16x8 convolution", conv("CONV_2D", IMAGE16, weights("INT8", KERNEL, 6), IMAGE16, B64, quantizedBiasType=4), 4),
    ("16x8 with narrow bias", conv("CONV_2D", IMAGE16, weights("INT8", KERNEL, 6), IMAGE16, B32), 8),
    ("grouped convolution", conv("CONV_2D", IMAGE, Tensor(shape=(6, 3, 3, 2)), IMAGE, B), 6),
    ("hybrid int4 convolution", conv("CONV_2D", IMAGE, weights("INT4", KERNEL, 6), IMAGE, B), 8),
    ("depthwise", conv("DEPTHWISE_CONV_2D", IMAGE, Tensor(shape=DEEP), IMAGE, B), 1),
    ("dilated depthwise", conv("DEPTHWISE_CONV_2D", IMAGE, Tensor(shape=DEEP), IMAGE, B, dilationHFactor=2), 2),
    ("int8 depthwise", conv("DEPTHWISE_CONV_2D", IMAGE8, weights("INT8", DEEP, 4), IMAGE8, B32, dilationWFactor=2), 3),
    ("hybrid depthwise", conv("DEPTHWISE_CONV_2D", IMAGE, weights("INT8", DEEP), IMAGE, B), 4),
    ("hybrid depthwise by channel", conv("DEPTHWISE_CONV_2D", IMAGE, weights("INT8", DEEP, 4), IMAGE, B), 6),
    ("int8 softmax", Op("SOFTMAX", (q("INT8"),)), 2),
    ("int16 softmax", Op("SOFTMAX", (q("INT16"),)), 3),
    ("float softmax", Op("SOFTMAX", (X,)), 1),
    ("int8 product", Op("MUL", (q("INT8"), q("INT8", name="b")), (q("INT8", name="o"),)), 2),
    ("int8 product that grows", Op("MUL", (q("INT8"), q("INT8", name="b")), (q("INT8", scale=0.01, name="o"),)), 3),
    ("int16 product, not quantized", Op("MUL", (Tensor("INT16"), Tensor("INT16", name="b"))), 7),
    ("int16 sum", Op("ADD", (q("INT16"), q("INT16", name="b")), (q("INT16", name="o"),)), 3),
    ("int16 sum, not quantized", Op("ADD", (Tensor("INT16"), Tensor("INT16", name="b"))), 5),
    ("int64 sum", Op("ADD", (Tensor("INT64"), Tensor("INT64", name="b"))), 4),
    ("difference beyond 4-D", Op("SUB", (Tensor(shape=(1, 1, 1, 2, 2)), Tensor(shape=(2,), name="b"))), 3),
    ("quotient of one shape", Op("DIV", (Tensor(shape=(1,) * 5), Tensor(shape=(1,) * 5, name="b"))), 1),
    ("transpose of 5-D int8", Op("TRANSPOSE", (q("INT8", (1,) * 5),)), 4),
    ("transpose of 6-D", Op("TRANSPOSE", (Tensor(shape=(1,) * 6),)), 6),
    ("pad of 5-D", Op("PAD", (Tensor(shape=(1,) * 5),)), 4),
    ("half-pixel centres", Op("RESIZE_BILINEAR", (IMAGE8,), options=CENTRES), 3),
    ("float16 weights", Op("DEQUANTIZE", (Tensor("FLOAT16"),)), 3),
    ("int8 weights by channel", Op("DEQUANTIZE", (PER_CHANNEL,)), 5),
    ("quantize to int16", Op("QUANTIZE", (X,), (q("INT16", name="o"),)), 2),
    ("cast to int8", Op("CAST", (X,), (Tensor("INT8", name="o"),)), 3),
    ("int8 SVDF", Op("SVDF", (q("INT8"), PER_TENSOR)), 3),
    ("16x8 LSTM", Op("UNIDIRECTIONAL_SEQUENCE_LSTM", (q("INT16"), None, PER_TENSOR), (q("INT16", name="o"),)), 4),
    ("hybrid LSTM", Op("UNIDIRECTIONAL_SEQUENCE_LSTM", (X, None, PER_TENSOR)), 2),
]  # fmt: skip


@pytest.mark.parametrize(("op", "version"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_version_follows_from_types_scales_shapes_and_options(op: Op, version: int) -> None:
    (found,) = versions.derive(model(op))
    assert (found.name, found.version, found.known) == (op.code, version, True)


def test_every_operator_of_the_floors_table_has_a_rule() -> None:
    assert set(floors.LOWEST_TENSORFLOW) <= set(version_rules.RULES)


def test_a_rule_takes_an_operator_without_tensors() -> None:
    for name in version_rules.RULES:
        assert versions.derive(model(Op(name, (), ())))[0].known


def test_a_larger_version_of_the_file_stands_and_an_unknown_operator_keeps_its_own() -> None:
    made = model(Op("SOFTMAX", (X,), version=3), Op("BUCKETIZE", (X,), version=2))
    softmax, bucketize = versions.derive(made)
    assert (softmax.version, softmax.needed) == (1, 3)
    assert (bucketize.known, bucketize.needed) == (False, 2)
    assert operators.without_rule(made) == ("BUCKETIZE",)


def test_dense_weights_by_channel_with_float_inputs_are_above_tflite_runtime_2_14() -> None:
    (found,) = operators.operators(model(dense(PER_CHANNEL)))
    assert found == Operator(name="FULLY_CONNECTED", version=12, count=1)
    assert floors.lowest_tensorflow(found) == "2.17"


def test_versions_are_raised_in_place_and_weights_stay_where_they_are() -> None:
    data = bytes(range(12))
    content = pack(model(dense(Tensor("INT8", (3, 4), (0.1, 0.2, 0.3), name="w", data=data)), Op("SOFTMAX", (Y,))))
    raised = versions.raise_versions(content)
    assert [found.stored for found in versions.derive(operators.parse(content))] == [1, 1]
    assert [found.stored for found in versions.derive(operators.parse(raised))] == [12, 1]
    assert raised.find(data) == content.find(data)
    changed = [at for at, (a, b) in enumerate(zip(content, raised, strict=False)) if a != b]
    assert len(changed) <= 4, "only the reference to the operator codes is another"
    assert versions.raise_versions(raised) is raised


def test_nothing_to_raise_gives_the_very_same_bytes() -> None:
    content = pack(model(Op("SOFTMAX", (q("INT8"),), version=2), Op("BUCKETIZE", (X,))))
    assert versions.raise_versions(content) is content


def test_operators_of_one_code_get_the_largest_version_of_theirs() -> None:
    made = model(dense(Tensor(shape=(3, 4))), Op("FULLY_CONNECTED", (X, PER_CHANNEL, BIAS), (Y,), shared=True))
    raised = operators.parse(versions.raise_versions(pack(made)))
    assert [found.stored for found in versions.derive(raised)] == [12, 12]


def test_custom_operators_keep_their_names_when_versions_are_raised() -> None:
    raised = versions.raise_versions(pack(model(dense(PER_CHANNEL), Op("FlexErf", (Y,)))))
    assert operators.parse(raised).operatorCodes[1].customCode == b"FlexErf"
