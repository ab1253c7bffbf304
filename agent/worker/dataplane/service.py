"""Paths and what is answered there. It waits for the model and touches no socket.

Rules upheld here:
- What somebody asks wrongly is 4xx, a model that fails is 500, and both say why as the protocol has it: `{"error": …}`.
- `live` and `ready` never wait for the model. `ready` says no while one inference has been running for `STUCK_S`: the
  worker may be hanging, and is killed if it is.
"""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from wherry.agent.worker.dataplane.answer import Formatter
from wherry.agent.worker.dataplane.errors import NotHere, Problem
from wherry.agent.worker.dataplane.metadata import model_metadata, server_metadata
from wherry.agent.worker.dataplane.request import read_request
from wherry.agent.worker.engine import Engine, InferenceFailed

STUCK_S = 5.0
"""Far longer than an inference takes; less than the silence for which the agent kills a worker."""


class Ask(NamedTuple):
    """A request. `path` is as sent, without the question mark and what follows it."""

    method: str
    path: bytes
    body: bytes = b""
    json_length: bytes | None = None
    encoding: bytes = b""


class Reply(NamedTuple):
    """`json_length` is set where binary data follows the JSON."""

    status: int
    body: bytes
    json_length: int | None = None
    allow: str = ""


class Service:
    """Answers for one engine, from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        identity = engine.identity
        self._names = {identity.model, identity.slot} - {""}
        self._version = str(identity.version)
        self._formatter = Formatter(identity, engine.outputs)
        self._server, self._model = server_metadata(), model_metadata(identity, engine.inputs, engine.outputs)
        self._gets: dict[tuple[bytes, ...], Callable[[], Reply]] = {
            (): lambda: Reply(200, self._server),
            (b"health", b"live"): lambda: Reply(200, b'{"live":true}'),
            (b"health", b"ready"): self._ready,
        }
        self._model_gets: dict[tuple[bytes, ...], Callable[[], Reply]] = {
            (): lambda: Reply(200, self._model),
            (b"ready",): self._ready,
        }

    def infers(self, ask: Ask) -> bool:
        """Whether answering takes the model, and so a while."""
        return ask.method == "POST" and ask.path.rstrip(b"/").endswith(b"/infer")

    def answer(self, ask: Ask) -> Reply:
        """Never raises."""
        try:
            return self._answer(ask)
        except Problem as problem:
            return refusal(str(problem), problem.status)
        except InferenceFailed as error:
            return refusal(f"the model failed: {error}", 500)

    def _answer(self, ask: Ask) -> Reply:
        first, *rest = [unquote_to_bytes(part) for part in ask.path.strip(b"/").split(b"/")]
        if first != b"v2":
            raise NotHere("there is nothing here; the protocol is at /v2")
        if rest[:1] != [b"models"]:
            return self._get(ask, self._gets, tuple(rest))
        tail = self._of_model(rest[1:])
        if tail == (b"infer",):
            return self._infer(ask) if ask.method == "POST" else not_allowed("POST")
        return self._get(ask, self._model_gets, tail)

    def _get(self, ask: Ask, table: dict[tuple[bytes, ...], Callable[[], Reply]], key: tuple[bytes, ...]) -> Reply:
        reply = table.get(key)
        if reply is None:
            raise NotHere("there is nothing here; see the Open Inference Protocol for the paths under /v2")
        return reply() if ask.method == "GET" else not_allowed("GET")

    def _of_model(self, rest: list[bytes]) -> tuple[bytes, ...]:
        """What follows the model's name and version in the path."""
        name = rest[0].decode(errors="replace") if rest else ""
        if name not in self._names:
            raise NotHere(f"this slot serves {' alias '.join(sorted(self._names))}, not {name[:100]!r}")
        if rest[1:2] != [b"versions"]:
            return tuple(rest[1:])
        if rest[2:3] != [self._version.encode()]:
            raise NotHere(f"this slot serves version {self._version} of the model")
        return tuple(rest[3:])

    def _ready(self) -> Reply:
        running_s = self._engine.running_s()
        if running_s > STUCK_S:
            return refusal(f"one inference has been running for {running_s:.0f} s", 400)  # the protocol: 4xx is no
        return Reply(200, b'{"ready":true}')

    def _infer(self, ask: Ask) -> Reply:
        if ask.encoding not in (b"", b"identity"):
            raise Problem("bodies are taken as they are, without Content-Encoding", 415)
        question = read_request(ask.body, ask.json_length, self._engine.inputs, self._engine.outputs)
        outputs, latency_ms = self._engine.timed(question.inputs, question.label)
        head, binary = self._formatter.format(question, outputs, latency_ms)
        return Reply(200, b"".join((head, *binary)), len(head)) if binary else Reply(200, head)


def refusal(text: str, status: int) -> Reply:
    return Reply(status, msgspec.json.encode({"error": text}))


def not_allowed(method: str) -> Reply:
    return Reply(405, msgspec.json.encode({"error": f"only {method} is answered here"}), allow=method)
