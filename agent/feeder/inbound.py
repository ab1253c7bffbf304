"""The source that is an MQTT topic: each message is one sample.

Rules upheld here:
- Where the model is slower than the messages, the newest win: `KEPT` wait for their turn, older ones are dropped and
  counted. What waits is bounded in bytes as well.
- A message is a request in the Open Inference Protocol's JSON, or the raw bytes of the model's one input as it is
  stored. Anything else is passed over.
"""

import threading
from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from wherry.agent.feeder.samples import Bad, Idle, Item, Sample
from wherry.agent.feeder.session import Session
from wherry.agent.worker.dataplane.datatypes import DATATYPES
from wherry.agent.worker.dataplane.errors import Problem
from wherry.agent.worker.dataplane.numbers import from_json
from wherry.agent.worker.dataplane.request import InputForm, RequestForm
from wherry.agent.worker.fit import shapes_of_one
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

KEPT = 8
KEPT_BYTES = 32 * 1024 * 1024
WAIT_S = 1.0

_forms = msgspec.json.Decoder(RequestForm)


class Inbound:
    """See `samples.Source`. `heard` takes messages from any thread; `dropped` counts, and is whoever's to take."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._number = 0
        self._dropped = 0

    def heard(self, payload: bytes) -> None:
        with self._changed:
            self._waiting.append(payload)
            self._waiting_bytes += len(payload)
            while len(self._waiting) > KEPT or self._waiting_bytes > KEPT_BYTES:
                self._waiting_bytes -= len(self._waiting.popleft())
                self._number += 1
                self._dropped += 1
            self._changed.notify_all()

    def take_dropped(self) -> int:
        """How many were dropped since this was asked last."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def take(self, specs: Sequence[TensorSpec]) -> Item:
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._waiting), WAIT_S):
                return Idle(self.session.trouble if self.session is not None else "")
            payload = self._waiting.popleft()
            self._waiting_bytes -= len(payload)
            self._number += 1
            number = self._number
        try:
            return _sample(payload, specs, number)
        except Problem as error:
            return Bad(f"a message is no sample: {error}")

    def close(self) -> None:
        """The session is closed by whoever opened it."""


def _sample(payload: bytes, specs: Sequence[TensorSpec], number: int) -> Sample:
    """Raises Problem."""
    form = _form(payload)
    if form is None:
        return Sample([_raw(payload, specs)], None, {"message": number})
    if len(form.inputs) != len(specs):
        raise Problem(f"{len(form.inputs)} inputs are given, the model takes {len(specs)}")
    label = form.parameters.get("label")
    origin: dict[str, str | int] = {"message": number} | ({"id": form.id[:200]} if form.id else {})
    return Sample([_array(form.inputs, spec, specs) for spec in specs], label if type(label) is int else None, origin)


def _form(payload: bytes) -> RequestForm | None:
    """None where it is not JSON at all: any byte may begin a tensor. Raises Problem."""
    if payload.lstrip()[:1] != b"{":
        return None
    try:
        return _forms.decode(payload)
    except msgspec.ValidationError as error:
        raise Problem(f"not an inference request: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _raw(payload: bytes, specs: Sequence[TensorSpec]) -> Tensor:
    if len(specs) != 1:
        raise Problem(f"{len(payload)} raw bytes for a model of {len(specs)} inputs: send JSON")
    (spec,) = specs
    if len(payload) != spec.size_bytes:
        raise Problem(f"{len(payload)} bytes, the model's {spec.dtype} {[*spec.shape]} has {spec.size_bytes}")
    return np.frombuffer(payload, spec.dtype).reshape(spec.shape)


def _array(given: Sequence[InputForm], spec: TensorSpec, specs: Sequence[TensorSpec]) -> Tensor:
    """The input by its name, which may lack the `:0` of TensorFlow's; a single one under any name. Raises Problem."""
    wanted = (spec.name, spec.name.split(":")[0])
    entry = next((entry for entry in given if entry.name in wanted or len(specs) == 1), None)
    if entry is None:
        raise Problem(f"input {spec.name} is not given")
    dtype, shape = DATATYPES.get(entry.datatype), tuple(entry.shape)
    if dtype is None:
        raise Problem(f"{spec.name} is {entry.datatype[:40]!r}, which is no type of the protocol's")
    if shape not in shapes_of_one(spec):
        raise Problem(f"{spec.name} is {entry.shape[:8]}, the model takes {[*spec.shape]}")
    return from_json(bytes(entry.data), spec.name, dtype, shape)
