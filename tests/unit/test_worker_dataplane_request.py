"""Inference requests as bytes: every form that the protocol has, and all that is none."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.data_plane import ASIDE, PICTURE, SCORES, SUM
from wherry.agent.worker.dataplane.errors import Problem
from wherry.agent.worker.dataplane.request import Question, Wanted, read_request
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.preparation import prepare

IMAGE = {"name": "picture", "shape": [1, 2, 2, 1], "datatype": "INT8", "data": [1, -2, 3, 127]}
OTHER = {"name": "aside", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 2]}
PAIR = (PICTURE, ASIDE)
OUTPUTS = (SCORES, SUM)


def ask(binary: bytes = b"", **fields: Any) -> Question:
    form = {"inputs": [IMAGE, OTHER], **fields}
    body = json.dumps(form).encode()
    length = str(len(body)).encode() if binary else None
    return read_request(body + binary, length, PAIR, OUTPUTS)


def ask_one(spec: TensorSpec, data: Any, kind: str, shape: list[int] | None = None) -> np.ndarray[Any, Any]:
    entry = {"name": spec.name, "shape": [*spec.shape] if shape is None else shape, "datatype": kind, "data": data}
    body = json.dumps({"inputs": [entry]}).encode()
    return read_request(body, None, [spec], OUTPUTS).inputs[0]


def problem(text: str, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(Problem, match=text) as caught:
        ask(*args, **kwargs)
    assert 400 <= caught.value.status < 500


def test_inputs_come_in_the_models_order_whatever_the_requests() -> None:
    for inputs in ([IMAGE, OTHER], [OTHER, IMAGE]):
        picture, aside = ask(inputs=inputs).inputs
        assert picture.dtype == np.int8
        assert picture.tolist() == [[[[1], [-2]], [[3], [127]]]]
        assert aside.dtype == np.float32
        assert aside.tolist() == [[0.5, 2.0]]


@pytest.mark.parametrize("data", [[1, -2, 3, 127], [[[[1], [-2]], [[3], [127]]]]])
def test_data_is_flat_or_nested(data: Any) -> None:
    assert ask(inputs=[{**IMAGE, "data": data}, OTHER]).inputs[0].ravel().tolist() == [1, -2, 3, 127]


def test_a_sample_may_come_without_its_batch() -> None:
    assert ask(inputs=[{**IMAGE, "shape": [2, 2, 1]}, OTHER]).inputs[0].shape == (1, 2, 2, 1)


def test_binary_and_json_inputs_are_mixed_and_binary_ones_follow_in_order() -> None:
    first = {"name": "aside", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    second = {"name": "picture", "shape": [1, 2, 2, 1], "datatype": "INT8", "parameters": {"binary_data_size": 4}}
    question = ask(struct.pack("<ff4b", 1.5, 2.5, 9, 8, 7, -6), inputs=[first, second])
    assert question.inputs[0].ravel().tolist() == [9, 8, 7, -6]
    assert question.inputs[1].tolist() == [[1.5, 2.5]]
    question = ask(struct.pack("<ff", 1.5, 2.5), inputs=[first, IMAGE])
    assert question.inputs[1].tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize("offset", range(8))
def test_binary_data_may_begin_at_any_byte(offset: int) -> None:
    entry = {"name": "aside", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    question = ask(struct.pack("<ff", 1.5, 2.5), inputs=[entry, IMAGE], id="x" * offset)
    assert question.inputs[1].flags.aligned
    assert question.inputs[1].tolist() == [[1.5, 2.5]]


def test_a_body_without_json_is_the_one_input() -> None:
    question = read_request(bytes([1, 2, 3, 255]), b"0", [PICTURE], OUTPUTS)
    assert question.inputs[0].ravel().tolist() == [1, 2, 3, -1]
    assert question.wanted == [Wanted(0, binary=True), Wanted(1, binary=True)]
    with pytest.raises(Problem, match="models of one input"):
        read_request(bytes(4), b"0", PAIR, OUTPUTS)
    with pytest.raises(Problem, match="has 3 bytes, int8"):
        read_request(bytes(3), b"0", [PICTURE], OUTPUTS)


def test_floats_are_prepared_as_the_manifest_says() -> None:
    raw = np.array([[[[200], [3]], [[0], [-9]]]], np.float32)
    got = ask_one(PICTURE, raw.ravel().tolist(), "FP32")
    assert got.dtype == np.int8
    assert got.tolist() == prepare(raw, PICTURE).tolist()
    assert ask_one(PICTURE, [200, 3, 0, 9], "UINT8").tolist() == prepare(np.abs(raw), PICTURE).tolist()


@pytest.mark.parametrize(
    ("spec", "kind", "data"),
    [
        (TensorSpec(name="b", shape=(1, 2), dtype="bool"), "BOOL", [True, False]),
        (TensorSpec(name="i", shape=(2,), dtype="int64"), "INT64", [-(2**63), 2**63 - 1]),
        (TensorSpec(name="i", shape=(), dtype="int32"), "INT32", [7]),
        (TensorSpec(name="h", shape=(1, 2), dtype="float16"), "FP16", [0.5, 65504]),
        (TensorSpec(name="u", shape=(1, 2), dtype="uint8"), "UINT8", [0, 255]),
        (TensorSpec(name="f", shape=(1, 1), dtype="float32"), "FP32", [[3]]),
        (TensorSpec(name="none", shape=(1, 0), dtype="float32"), "FP32", []),
    ],
)
def test_every_type_keeps_its_values(spec: TensorSpec, kind: str, data: list[Any]) -> None:
    got = ask_one(spec, data, kind)
    assert (got.dtype.name, got.shape) == (spec.dtype, spec.shape)
    assert got.ravel().tolist() == np.ravel(data).tolist()


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("one sample a request", {"shape": [2, 2, 2, 1]}),
        ("one sample a request", {"shape": []}),
        ("one sample a request", {"shape": [-1, 2, 2, 1]}),
        ("of 99 axes", {"shape": [1] * 99}),
        ("'INT9', the model takes INT8", {"datatype": "INT9"}),
        ("'BYTES', the model takes INT8", {"datatype": "BYTES"}),
        ("has 3 numbers", {"data": [1, 2, 3]}),
        ("has 1 numbers", {"data": []}),
        ("has 5000 numbers", {"data": [0] * 5000}),
        ("neither data nor binary_data_size", {"data": ...}),
        ("not an array of numbers", {"data": [[1, 2], [3], 4]}),
        ("neither .* nor flat", {"data": [[1, 2], [3, 4]]}),
        ("other things than numbers", {"data": ["1", 2, 3, 4]}),
        ("other things than numbers", {"data": [None, 2, 3, 4]}),
        ("numbers", {"data": {"a": 1, "b": 2, "c": 3, "d": 4}}),
        ("is not int8", {"data": [1.5, 2, 3, 4]}),
        ("is not int8", {"data": [True, False, True, True]}),
        ("outside of int8's -128 to 127", {"data": [128, 2, 3, 4]}),
        ("numbers", {"data": [10**30, 2, 3, 4]}),
        ("is not an input of the model, or|is not an input of the model; it takes picture, aside", {"name": "x" * 999}),
        ("is given twice", {"name": "aside", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}),
        ("binary_data_size of picture must be", {"parameters": {"binary_data_size": "4"}}),
        ("binary_data_size of picture must be", {"parameters": {"binary_data_size": -4}}),
        ("binary_data_size of picture must be", {"parameters": {"binary_data_size": True}}),
        ("has 0 bytes", {"parameters": {"binary_data_size": 4}}),
        ("not an inference request", {"parameters": {"binary_data_size": [4]}}),
        ("not an inference request", {"name": 7}),
    ],
)
def test_an_input_that_cannot_be_is_refused_in_words(text: str, change: dict[str, Any]) -> None:
    entry = {name: value for name, value in {**IMAGE, **change}.items() if value is not ...}
    problem(text, inputs=[OTHER, entry])


@pytest.mark.parametrize("value", ["1e39", "1e999", "NaN", "-1e400"])
def test_what_is_not_a_finite_number_never_reaches_a_model(value: str) -> None:
    body = b'{"inputs":[{"name":"aside","shape":[1,2],"datatype":"FP32","data":[1,%s]}]}' % value.encode()
    with pytest.raises(Problem):
        read_request(body, None, [ASIDE], OUTPUTS)


def test_a_binary_nan_never_reaches_a_model() -> None:
    with pytest.raises(Problem, match="not finite"):
        read_request(struct.pack("<ff", 1, float("nan")), b"0", [ASIDE], OUTPUTS)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("lacks the inputs aside, picture", {"inputs": []}),
        ("'box' is not an output", {"outputs": [{"name": "box"}]}),
        ("asked for twice", {"outputs": [{"name": "sum"}, {"name": "sum"}]}),
        ("binary_data must be true or false", {"outputs": [{"name": "sum", "parameters": {"binary_data": 1}}]}),
        ("classification must be", {"outputs": [{"name": "scores", "parameters": {"classification": 0}}]}),
        ("classification must be", {"outputs": [{"name": "scores", "parameters": {"classification": 1.5}}]}),
        ("binary_data_output must be", {"parameters": {"binary_data_output": "yes"}}),
        ("label must be the index of the right class, from 0 to 3", {"parameters": {"label": 4}}),
        ("label must be", {"parameters": {"label": -1}}),
        ("label must be", {"parameters": {"label": True}}),
        ("label must be", {"parameters": {"label": "cat"}}),
        ("not an inference request", {"id": 7}),
        ("not an inference request", {"outputs": "all"}),
    ],
)
def test_a_request_that_cannot_be_is_refused_in_words(text: str, fields: dict[str, Any]) -> None:
    problem(text, **fields)


def test_bytes_that_nobody_asked_to_have_are_refused() -> None:
    problem("7 bytes follow the JSON", b"1234567")


@pytest.mark.parametrize("header", [b"-1", b"x", b"", b"9" * 30, b"1e3", b"\xb2", b"5"])
def test_a_length_of_the_json_that_cannot_be_is_refused(header: bytes) -> None:
    with pytest.raises(Problem):
        read_request(b"{}", header, PAIR, OUTPUTS)


def test_without_outputs_all_are_given_and_else_those_that_are_named() -> None:
    assert ask().wanted == [Wanted(0), Wanted(1)]
    assert ask(parameters={"binary_data_output": True, "dequantize": True}).wanted == [
        Wanted(0, binary=True, real=True),
        Wanted(1, binary=True, real=True),
    ]
    named = [{"name": "sum"}, {"name": "scores", "parameters": {"binary_data": False, "classification": 99}}]
    assert ask(outputs=named, parameters={"binary_data_output": True}).wanted == [
        Wanted(1, binary=True),
        Wanted(0, top=4),
    ]


def test_labels_ids_and_unknown_fields() -> None:
    question = ask(id="42", parameters={"label": 3, "priority": 1, "x": None}, unknown={"deep": [1, {}]})
    assert (question.id, question.label) == ("42", 3)


def test_nesting_without_end_is_refused() -> None:
    deep = b"[" * 100_000
    for body in (
        deep,
        b'{"inputs":' + deep,
        b'{"inputs":[{"name":"aside","shape":[1,2],"datatype":"FP32","data":' + deep,
    ):
        with pytest.raises(Problem):
            read_request(body, None, [ASIDE], OUTPUTS)


def test_a_number_of_many_digits_is_refused() -> None:
    body = b'{"inputs":[{"name":"aside","shape":[1,2],"datatype":"FP32","data":[1,%s]}]}' % (b"9" * 100_000)
    with pytest.raises(Problem):
        read_request(body, None, [ASIDE], OUTPUTS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "binary_data_size", "classification"]
    ), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
entries = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["picture", "aside", "scores"]) | json_values,
        "shape": st.just([1, 2]) | st.just([1, 2, 2, 1]) | json_values,
        "datatype": st.sampled_from(["INT8", "FP32", "BOOL", "UINT64", "FP16"]) | json_values,
        "data": st.lists(st.floats() | st.integers(), max_size=4) | json_values,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "classification", "binary_data", "dequantize"]), json_values
        ),
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(entries, max_size=3) | json_values},
    optional={"outputs": st.lists(entries, max_size=3) | json_values, "parameters": json_values, "id": json_values},
)


@pytest.mark.slow
@given(requests, st.binary(max_size=20), st.none() | st.integers(-5, 400) | st.binary(max_size=4))
@example({"inputs": [IMAGE, OTHER]}, b"", None)
def test_whatever_the_json_is_the_outcome_is_a_question_or_a_problem(
    form: Any, binary: bytes, header: int | bytes | None
) -> None:
    body = json.dumps(form).encode()
    if isinstance(header, int):
        header = str(len(body) + header if header < 0 else len(body)).encode()
    outcome(body + binary, header)


@given(st.binary(max_size=200), st.none() | st.binary(max_size=4) | st.integers(0, 200).map(lambda n: str(n).encode()))
def test_whatever_the_bytes_are_the_outcome_is_a_question_or_a_problem(body: bytes, header: bytes | None) -> None:
    outcome(body, header)


def outcome(body: bytes, header: bytes | None) -> None:
    for specs in (PAIR, (PICTURE,), (ASIDE,)):
        try:
            question = read_request(body, header, specs, OUTPUTS)
        except Problem as refused:
            assert 400 <= refused.status < 500  # noqa: PT017 - either outcome is right
            continue
        for tensor, spec in zip(question.inputs, specs, strict=True):
            assert (tensor.shape, tensor.dtype.name) == (spec.shape, spec.dtype)
            assert np.isfinite(tensor.astype(np.float64)).all()
