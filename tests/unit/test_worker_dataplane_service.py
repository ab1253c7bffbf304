"""Paths, and what is answered there, without HTTP around it."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tests.support.data_plane import IDENTITY, Pair
from tests.support.fake_interpreter import FakeInterpreter
from wherry.agent.worker.dataplane.service import STUCK_S, Ask, Reply, Service
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.model import Model
from wherry.protocol.manifest import TensorSpec

IMAGE = {"name": "picture", "shape": [1, 2, 2, 1], "datatype": "INT8", "data": [1, -2, 3, 127]}
OTHER = {"name": "aside", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 2]}


def service(interpreter: FakeInterpreter | None = None, identity: Identity = IDENTITY) -> Service:
    return Service(Engine(Model("litert", interpreter or Pair()), identity, 0.0))


def get(path: str, method: str = "GET") -> Reply:
    return service().answer(Ask(method, path.encode()))


def infer(asked: Service | None = None, path: str = "/v2/models/digits/infer", **fields: Any) -> tuple[int, Any, bytes]:
    body = json.dumps({"inputs": [IMAGE, OTHER], **fields}).encode()
    reply = (asked or service()).answer(Ask("POST", path.encode(), body))
    head = reply.body[: reply.json_length]
    return reply.status, json.loads(head), reply.body[len(head) :]


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/digits",
        "/v2/models/digits/ready",
        "/v2/models/digits/versions/3",
        "/v2/models/digits/versions/3/ready",
        "/v2/models/main/ready",
        "/v2/models/d%69gits",
    ],
)
def test_paths_of_the_protocol_are_answered(path: str) -> None:
    assert get(path).status == 200
    refused = get(path, "POST")
    assert (refused.status, refused.allow) == (405, "GET")
    assert json.loads(refused.body)["error"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v2/health",
        "/v2/models",
        "/v2/models/",
        "/v2/models/others",
        "/v2/models/digits/versions",
        "/v2/models/digits/versions/2",
        "/v2/models/digits/versions/3/x",
        "/v2/models/digits/x",
        "/v2/models/%ff%00/ready",
        "/v2/models/" + "x" * 9999,
        "*",
        "/v2/models/digits/infer/infer",
    ],
)
def test_other_paths_are_not_here_and_say_so(path: str) -> None:
    reply = get(path)
    assert reply.status == 404
    assert len(json.loads(reply.body)["error"]) < 300


def test_inference_is_asked_for_with_post() -> None:
    reply = get("/v2/models/digits/infer")
    assert (reply.status, reply.allow) == (405, "POST")


def test_only_the_version_that_is_served_infers() -> None:
    assert infer(path="/v2/models/digits/versions/3/infer")[0] == 200
    assert infer(path="/v2/models/main/versions/3/infer")[0] == 200
    status, body, _ = infer(path="/v2/models/digits/versions/4/infer")
    assert (status, body["error"]) == (404, "this slot serves version 3 of the model")


def test_metadata_has_what_the_protocol_knows_and_beside_it_what_it_does_not() -> None:
    said = json.loads(get("/v2/models/main").body)
    assert (said["name"], said["versions"]) == ("digits", ["3"])
    picture, aside = said["inputs"]
    assert (picture["name"], picture["datatype"], picture["shape"]) == ("picture", "INT8", [1, 2, 2, 1])
    assert picture["parameters"]["quantization"] == {"scale": 0.5, "zero_point": -1}
    assert picture["parameters"]["layout"] == "NHWC"
    assert picture["parameters"]["preprocessing"]["scale"] == 0.25
    assert (aside["datatype"], aside["parameters"]) == ("FP32", {})
    assert said["parameters"]["labels"] == ["zero", "one", "two"]
    assert "dequantize" in said["parameters"]["request_parameters"]
    assert {"binary_tensor_data", "classification"} <= set(json.loads(get("/v2").body)["extensions"])


def test_an_answer_names_model_version_and_id() -> None:
    status, body, binary = infer(id="a-7")
    assert (status, binary) == (200, b"")
    assert (body["model_name"], body["model_version"], body["id"]) == ("digits", "3", "a-7")
    scores, total = body["outputs"]
    assert scores == {"name": "scores", "datatype": "INT8", "shape": [1, 4], "data": [1, -2, 3, 127]}
    assert total == {"name": "sum", "datatype": "FP32", "shape": [1], "data": [2.5]}


def test_binary_outputs_follow_the_json_in_order() -> None:
    _, body, binary = infer(parameters={"binary_data_output": True})
    assert [each["parameters"] for each in body["outputs"]] == [{"binary_data_size": 4}, {"binary_data_size": 4}]
    assert all("data" not in each for each in body["outputs"])
    assert binary == struct.pack("<4bf", 1, -2, 3, 127, 2.5)


def test_real_values_are_given_on_request() -> None:
    _, body, _ = infer(outputs=[{"name": "scores", "parameters": {"dequantize": True}}])
    assert body["outputs"] == [
        {"name": "scores", "datatype": "FP32", "shape": [1, 4], "data": [-0.5, -1.25, 0.0, 31.0]}
    ]
    _, body, binary = infer(parameters={"dequantize": True, "binary_data_output": True})
    assert binary == struct.pack("<5f", -0.5, -1.25, 0.0, 31.0, 2.5)


def test_classes_come_with_real_scores_and_labels_where_there_are_some() -> None:
    wanted = [{"name": "scores", "parameters": {"classification": 3}}]
    _, body, _ = infer(outputs=wanted)
    texts = ["31.000000:3", "0.000000:2:two", "-0.500000:0:zero"]
    assert body["outputs"] == [{"name": "scores", "datatype": "BYTES", "shape": [1, 3], "data": texts}]
    wanted[0]["parameters"]["binary_data"] = True  # type: ignore[index]
    _, body, binary = infer(outputs=wanted)
    assert binary == b"".join(struct.pack("<I", len(text)) + text.encode() for text in texts)
    assert body["outputs"][0]["parameters"] == {"binary_data_size": len(binary)}


def test_of_equal_scores_the_first_comes_first() -> None:
    entry = {**IMAGE, "data": [5, 9, 9, 5]}
    _, body, _ = infer(inputs=[entry, OTHER], outputs=[{"name": "scores", "parameters": {"classification": 4}}])
    assert [text.split(":")[1] for text in body["outputs"][0]["data"]] == ["1", "2", "0", "3"]


def test_a_label_is_counted() -> None:
    asked = service()
    for label in (3, 3, 0):
        assert infer(asked, parameters={"label": label})[0] == 200
    window = asked._engine.window(1.0)
    assert (window.labelled, window.correct) == (3, 2)


def test_a_model_that_fails_is_500_and_bad_input_is_no_failure_of_the_model() -> None:
    def fail(x: object) -> Any:
        raise RuntimeError("node 7 failed to invoke")

    asked = service(FakeInterpreter(fail))
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "INT8", "data": [1, 2, 3, 4]}]}).encode()
    reply = asked.answer(Ask("POST", b"/v2/models/digits/infer", body))
    assert reply.status == 500
    assert "node 7 failed to invoke" in json.loads(reply.body)["error"]
    assert asked.answer(Ask("POST", b"/v2/models/digits/infer", b"{")).status == 400
    assert asked._engine.window(1.0).errors == 1


def test_a_number_that_json_cannot_say_is_null() -> None:
    box = TensorSpec(name="box", shape=(1, 2, 1), dtype="float32")
    asked = service(FakeInterpreter(lambda x: np.array([[[np.nan], [1.5]]], np.float32), outputs=(box,)))
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "INT8", "data": [1, 2, 3, 4]}]}).encode()
    reply = asked.answer(Ask("POST", b"/v2/models/digits/infer", body))
    assert json.loads(reply.body)["outputs"][0]["data"] == [None, 1.5]


def test_compressed_bodies_are_refused() -> None:
    reply = service().answer(Ask("POST", b"/v2/models/digits/infer", b"\x1f\x8b", encoding=b"gzip"))
    assert reply.status == 415


def test_ready_says_no_while_an_inference_runs_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = service()
    monkeypatch.setattr(asked._engine, "running_s", lambda: STUCK_S + 1)
    reply = asked.answer(Ask("GET", b"/v2/health/ready"))
    assert 400 <= reply.status < 500, "what the protocol has for no"
    assert "has been running for 6 s" in json.loads(reply.body)["error"]
    assert asked.answer(Ask("GET", b"/v2/models/main/ready")).status == reply.status
    assert asked.answer(Ask("GET", b"/v2/health/live")).status == 200


def test_a_slot_without_a_named_model_is_its_model() -> None:
    asked = service(identity=replace(IDENTITY, model=""))
    assert json.loads(asked.answer(Ask("GET", b"/v2/models/main")).body)["name"] == "main"
