"""The answer to an inference request as bytes.

Rules upheld here:
- Pure. Outputs are as stored unless real values are asked for; classes come with real values in any case.
- Binary data follows the JSON in the order of the outputs, little-endian, row by row; texts have four bytes of length.
- JSON has no word for what is not a finite number: it is null there.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from wherry.agent.worker.dataplane.datatypes import datatype
from wherry.agent.worker.dataplane.request import Question, Wanted
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.preparation import to_real


class OutputForm(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] = {}
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class AnswerForm(msgspec.Struct, frozen=True, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[OutputForm]
    id: str = ""
    parameters: dict[str, int] = {}


class Formatter:
    """Of one model's answers."""

    def __init__(self, identity: Identity, specs: Sequence[TensorSpec]) -> None:
        self._name, self._version = identity.model or identity.slot, str(identity.version)
        self._labels, self._specs = identity.labels, specs
        self._encoder = msgspec.json.Encoder()

    def format(self, question: Question, outputs: Sequence[Tensor], latency_ms: float) -> tuple[bytes, list[bytes]]:
        """The JSON, and the binary data that follows it. `latency_ms` is of the model alone."""
        binary: list[bytes] = []
        forms = [self._form(wanted, outputs[wanted.number], binary) for wanted in question.wanted]
        form = AnswerForm(self._name, self._version, forms, question.id, {"latency_us": round(latency_ms * 1e3)})
        return self._encoder.encode(form), binary

    def _form(self, wanted: Wanted, stored: Tensor, binary: list[bytes]) -> OutputForm:
        spec = self._specs[wanted.number]
        if wanted.top:
            return self._classes(wanted, spec, stored, binary)
        values = to_real(stored, spec) if wanted.real else stored
        kind = "FP32" if wanted.real else datatype(spec.dtype)
        shape = [*values.shape]
        if not wanted.binary:
            return OutputForm(spec.name, kind, shape, data=values.ravel().tolist())
        data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        binary.append(data)
        return OutputForm(spec.name, kind, shape, {"binary_data_size": len(data)})

    def _classes(self, wanted: Wanted, spec: TensorSpec, stored: Tensor, binary: list[bytes]) -> OutputForm:
        """`score:index:label` of the highest scores, highest first, of equal ones the first."""
        scores = to_real(stored, spec).ravel()
        top = np.argsort(-scores, kind="stable")[: wanted.top].tolist()
        texts = [self._class(float(scores[index]), index) for index in top]
        shape = [1, wanted.top] if len(spec.shape) > 1 else [wanted.top]
        if not wanted.binary:
            return OutputForm(spec.name, "BYTES", shape, data=texts)
        data = b"".join(len(text).to_bytes(4, "little") + text for text in map(str.encode, texts))
        binary.append(data)
        return OutputForm(spec.name, "BYTES", shape, {"binary_data_size": len(data)})

    def _class(self, score: float, index: int) -> str:
        label = f":{self._labels[index]}" if index < len(self._labels) else ""
        return f"{score:.6f}:{index}{label}"
