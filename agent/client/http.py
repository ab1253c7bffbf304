"""One connection to a worker over the Open Inference Protocol, with tensors in binary form.

Rules upheld here:
- One connection is one worker's, so one version's, as in the fast mode: it is never opened anew behind the caller's
  back, and the version stands in the path, so that another one does not answer in its place.
- What a server says is judged by the model's own shapes before it is taken for an answer; no more of it is read.
"""

import contextlib
import select
import socket
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from wherry.agent.client.answer import Answer
from wherry.agent.client.errors import ModelFailed, NotServed, Refused
from wherry.agent.client.frames import MAX_HELLO_BYTES, MAX_TEXT_BYTES, NO_LABEL, Hello
from wherry.agent.client.link import Broken, Laid, Stored, Unread
from wherry.agent.worker.fit import Unfit
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import DType, Preprocessing, Quantization, TensorSpec

_JSON_LENGTH = "Inference-Header-Content-Length"
_AWAY = (404, 502, 503, 504)
"""The version is not served on this connection, or not now: another connection may have it."""

_DTYPES: dict[str, DType] = {
    "INT8": "int8", "UINT8": "uint8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "BOOL": "bool",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Address(NamedTuple):
    """Of a data plane that listens on TCP."""

    host: str
    port: int


def address(url: str) -> Address:
    """Of `http://127.0.0.1:8000`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise ValueError(f"{url} is not of the form http://127.0.0.1:8000")
    return Address(parts.hostname, parts.port or 80)


class _TensorParameters(msgspec.Struct, frozen=True):
    quantization: Quantization | None = None
    layout: str = ""
    preprocessing: Preprocessing | None = None


class _Tensor(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: _TensorParameters = _TensorParameters()


class _ModelParameters(msgspec.Struct, frozen=True):
    slot: str = "main"
    variant: str = ""
    labels: tuple[str, ...] = ()


class _Model(msgspec.Struct, frozen=True):
    """The model's metadata, with what Wherry's workers add to it."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Tensor, ...]
    parameters: _ModelParameters = _ModelParameters()


class _OutputParameters(msgspec.Struct, frozen=True):
    binary_data_size: int


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: _OutputParameters


class _AnswerParameters(msgspec.Struct, frozen=True):
    latency_us: float = 0.0


class _Inferred(msgspec.Struct, frozen=True):
    outputs: tuple[_Output, ...]
    parameters: _AnswerParameters = _AnswerParameters()


class _Error(msgspec.Struct, frozen=True):
    error: str


class HttpLink:
    """Connects on being made: raises Unread. `moved` once the worker has said that it closes the connection.

    It waits `wait_s` for each word, until another limit is given.
    """

    def __init__(self, target: Path | Address, slot: str, wait_s: float) -> None:
        self.moved = False
        self._connection = _connection(target, wait_s)
        where = str(target) if isinstance(target, Path) else f"{target.host}:{target.port}"
        try:
            self._connection.connect()
            self.hello = self._greeted(slot)
        except (OSError, HTTPException, msgspec.DecodeError, ValueError) as error:
            self.close()
            raise Unread(f"{where}: {getattr(error, 'strerror', None) or error}") from error
        self._stored = [Stored(spec) for spec in self.hello.inputs]
        self._outputs = Laid(self.hello.outputs)
        name, version = quote(self.hello.identity.model, safe=""), self.hello.identity.version
        self._path = f"/v2/models/{name}/versions/{version}/infer"

    def limit(self, wait_s: float) -> None:
        if self._connection.sock is not None:  # else asking says that it was closed
            self._socket.settimeout(wait_s)

    def ask(self, inputs: Sequence[Tensor], label: int) -> Answer:
        """Raises Refused, ModelFailed, NotServed, Unread or Broken."""
        try:
            data = [stored.ready(array) for stored, array in zip(self._stored, inputs, strict=True)]
        except Unfit as error:
            raise Refused(str(error)) from error
        self._send(_question(self.hello, label), data)
        try:
            return self._receive()
        except TimeoutError as error:
            raise NotServed("asked, and not answered in time") from error
        except (OSError, HTTPException, msgspec.DecodeError, ValueError) as error:
            raise Broken(str(error) or type(error).__name__) from error

    def close(self) -> None:
        self._connection.close()

    @property
    def _socket(self) -> socket.socket:
        assert self._connection.sock is not None, "connected on being made"
        return self._connection.sock

    def _greeted(self, slot: str) -> Hello:
        self._connection.request("GET", f"/v2/models/{quote(slot, safe='')}")
        response = self._connection.getresponse()
        body = _read(response, MAX_HELLO_BYTES)
        if response.status != 200:
            raise Unread(f"{response.status}, {_told(body)}")
        return _hello(msgspec.json.decode(body, type=_Model))

    def _send(self, question: bytes, data: Sequence[memoryview]) -> None:
        if self._connection.sock is None or _closed(self._socket):
            raise Unread("the connection was closed")
        headers = {_JSON_LENGTH: str(len(question)), "Content-Type": "application/octet-stream"}
        try:
            self._connection.request("POST", self._path, b"".join([question, *data]), headers)
        except TimeoutError as error:
            raise NotServed("the worker does not read") from error
        except OSError as error:
            self._hear_refusal()
            raise Unread(str(error)) from error  # what did not arrive whole was given to no model

    def _hear_refusal(self) -> None:
        """Of a request that the worker did not read to its end: it may have said why. Raises Refused or ModelFailed."""
        with contextlib.suppress(OSError, HTTPException, msgspec.DecodeError, ValueError):
            self._receive()

    def _receive(self) -> Answer:
        response = self._connection.getresponse()
        self.moved = response.will_close
        body = _read(response, self._outputs.size + MAX_HELLO_BYTES)
        if response.status == 200:
            return self._answer(body, int(response.headers.get(_JSON_LENGTH, "")))
        if response.status in _AWAY:
            raise Unread(_told(body))
        raise ModelFailed(_told(body)) if response.status >= 500 else Refused(_told(body))

    def _answer(self, body: bytes, json_length: int) -> Answer:
        """Raises ValueError where it is not the one to this model's question."""
        found = msgspec.json.decode(memoryview(body)[:json_length], type=_Inferred)
        sizes = [(output.name, output.parameters.binary_data_size) for output in found.outputs]
        if sizes != [(spec.name, spec.size_bytes) for spec in self.hello.outputs]:
            raise ValueError(f"an answer with {sizes[:8]}, which are not the model's outputs")
        if len(body) != json_length + self._outputs.size:
            raise ValueError(f"an answer of {len(body) - json_length} bytes, the model gives {self._outputs.size}")
        return Answer(self.hello, self._outputs.read(body, json_length), found.parameters.latency_us / 1e3)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _connection(target: Path | Address, timeout_s: float) -> HTTPConnection:
    if isinstance(target, Path):
        made: HTTPConnection = _UnixConnection(target, timeout_s)
    else:
        made = HTTPConnection(target.host, target.port, timeout=timeout_s)
    made.auto_open = 0
    return made


def _hello(model: _Model) -> Hello:
    """Raises ValueError where it is not the metadata of one of our models."""
    said = model.parameters
    identity = Identity(
        slot=said.slot, model=model.name, version=int(model.versions[0]) if model.versions else 0,
        variant=said.variant, labels=said.labels,
    )  # fmt: skip
    return Hello(identity=identity, inputs=_specs(model.inputs), outputs=_specs(model.outputs))


def _specs(tensors: Sequence[_Tensor]) -> tuple[TensorSpec, ...]:
    """Through the checks of a manifest's: what a server says is no better than what a file says."""
    found = [
        {"name": tensor.name, "shape": tensor.shape, "dtype": _DTYPES.get(tensor.datatype, tensor.datatype)}
        | msgspec.structs.asdict(tensor.parameters)
        for tensor in tensors
    ]
    return msgspec.convert(found, tuple[TensorSpec, ...])


def _question(hello: Hello, label: int) -> bytes:
    """The JSON that goes before the tensors' bytes."""
    inputs = [
        {
            "name": spec.name,
            "shape": spec.shape,
            "datatype": _NAMES[spec.dtype],
            "parameters": {"binary_data_size": spec.size_bytes},
        }
        for spec in hello.inputs
    ]
    parameters = {"binary_data_output": True} | ({} if label == NO_LABEL else {"label": label})
    return msgspec.json.encode({"inputs": inputs, "parameters": parameters})


def _read(response: HTTPResponse, most_bytes: int) -> bytes:
    """Raises ValueError on a longer body."""
    body = response.read(most_bytes + 1)
    if len(body) > most_bytes:
        raise ValueError(f"an answer of more than {most_bytes} bytes")
    return body


def _told(body: bytes) -> str:
    """What the server says is wrong."""
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(body, type=_Error).error[:MAX_TEXT_BYTES]
    return body[:200].decode(errors="replace") or "no reason given"


def _closed(sock: socket.socket) -> bool:
    """Whether the worker has closed the connection, or said what nobody asked for."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
