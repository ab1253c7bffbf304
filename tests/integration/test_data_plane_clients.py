"""Clients that we did not write, unmodified: Triton's over TCP, curl and httpx over the Unix socket."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.data_plane import Pair, Plane, served
from wherry.protocol.preparation import prepare

triton = pytest.importorskip("tritonclient.http")
pytestmark = pytest.mark.slow

IMAGE = np.array([[[[1], [-2]], [[3], [127]]]], np.int8)
ASIDE = np.array([[0.5, 2.0]], np.float32)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with served(Pair(), tmp_path) as plane:
        yield plane


@pytest.fixture
def client(plane: Plane) -> Iterator["triton.InferenceServerClient"]:
    with triton.InferenceServerClient(f"127.0.0.1:{plane.port}") as client:
        yield client


def inputs(*, binary: bool, image: np.ndarray = IMAGE, kind: str = "INT8") -> list["triton.InferInput"]:
    picture = triton.InferInput("picture", [*image.shape], kind)
    picture.set_data_from_numpy(image, binary_data=binary)
    aside = triton.InferInput("aside", [1, 2], "FP32")
    aside.set_data_from_numpy(ASIDE, binary_data=binary)
    return [picture, aside]


def test_tritons_client_finds_the_server_and_the_model(client: "triton.InferenceServerClient") -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "3")
    assert not client.is_model_ready("digits", "4")
    assert not client.is_model_ready("others")
    assert client.get_server_metadata()["name"] == "wherry"
    metadata = client.get_model_metadata("digits")
    assert [each["datatype"] for each in metadata["inputs"]] == ["INT8", "FP32"]
    with pytest.raises(triton.InferenceServerException, match="this slot serves"):
        client.get_model_metadata("others")


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_tritons_client_infers_in_every_form(
    client: "triton.InferenceServerClient", binary_in: bool, binary_out: bool
) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("sum", "scores")]
    result = client.infer("digits", inputs(binary=binary_in), outputs=wanted, request_id="9", model_version="3")
    assert result.as_numpy("scores").tolist() == [[1, -2, 3, 127]]
    assert result.as_numpy("sum").tolist() == [2.5]
    said = result.get_response()
    assert (said["model_name"], said["model_version"], said["id"]) == ("digits", "3", "9")


def test_tritons_client_may_leave_the_outputs_open(client: "triton.InferenceServerClient") -> None:
    result = client.infer("digits", inputs(binary=True))
    assert result.as_numpy("scores").dtype == np.int8
    assert result.as_numpy("sum").tolist() == [2.5]


def test_tritons_client_gives_floats_and_takes_real_values(
    plane: Plane, client: "triton.InferenceServerClient"
) -> None:
    raw = np.array([[[[200], [3]], [[0], [-9]]]], np.float32)
    result = client.infer("digits", inputs(binary=True, image=raw, kind="FP32"), parameters={"dequantize": True})
    stored = prepare(raw, plane.engine.inputs[0]).reshape(1, 4).astype(np.float32)
    assert result.as_numpy("scores").dtype == np.float32
    assert result.as_numpy("scores").tolist() == (0.25 * (stored - 3)).tolist()


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_client_asks_for_classes(client: "triton.InferenceServerClient", binary: bool) -> None:
    wanted = [triton.InferRequestedOutput("scores", binary_data=binary, class_count=2)]
    result = client.infer("digits", inputs(binary=True), outputs=wanted, parameters={"label": 3})
    classes = result.as_numpy("scores")
    assert classes.shape == (1, 2)
    texts = [text.decode() if isinstance(text, bytes) else text for text in classes.ravel()]
    assert texts == ["31.000000:3", "0.000000:2:two"]


def test_tritons_client_is_told_what_is_wrong(client: "triton.InferenceServerClient") -> None:
    with pytest.raises(triton.InferenceServerException, match="one sample a request"):
        client.infer("digits", inputs(binary=True, image=np.zeros((2, 2, 2, 1), np.int8)))
    compressed = {"request_compression_algorithm": "gzip"}
    with pytest.raises(triton.InferenceServerException, match="Content-Encoding"):
        client.infer("digits", inputs(binary=True), **compressed)


def curl(plane: Plane, path: str, *options: str, data: bytes = b"") -> bytes:
    command = ["curl", "-sS", "--unix-socket", str(plane.path), *options, f"http://slot{path}"]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=30).stdout


def test_curl_asks_over_the_unix_socket(plane: Plane) -> None:
    assert json.loads(curl(plane, "/v2/health/ready")) == {"ready": True}
    form = {
        "inputs": [
            {"name": "picture", "shape": [1, 2, 2, 1], "datatype": "INT8", "data": IMAGE.tolist()},
            {"name": "aside", "shape": [1, 2], "datatype": "FP32", "data": ASIDE.tolist()},
        ]
    }
    said = json.loads(curl(plane, "/v2/models/main/infer", "--data-binary", "@-", data=json.dumps(form).encode()))
    assert [each["data"] for each in said["outputs"]] == [[1, -2, 3, 127], [2.5]]


def test_curl_is_refused_a_body_that_is_too_large_and_reads_why(plane: Plane) -> None:
    said = curl(plane, "/v2/models/main/infer", "--data-binary", "@-", "-i", data=bytes(8_000_000))
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"a body may have 1048576 bytes" in said


def test_httpx_goes_on_with_one_connection(plane: Plane) -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "picture", "shape": [1, 2, 2, 1], "datatype": "INT8", "parameters": {"binary_data_size": 4}},
                {"name": "aside", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    with plane.client() as client:
        for _ in range(20):
            answer = client.post(
                "/v2/models/digits/infer",
                content=head + IMAGE.tobytes() + ASIDE.tobytes(),
                headers={"Inference-Header-Content-Length": str(len(head))},
            )
            assert answer.status_code == 200
            length = int(answer.headers["Inference-Header-Content-Length"])
            assert answer.content[length:] == bytes([1, 254, 3, 127]) + np.float32(2.5).tobytes()
        assert len(plane.server._connections) == 1
