"""An inference request as bytes, and what it asks for.

Rules upheld here:
- Pure: bytes in, tensors out; whatever the bytes are, the outcome is a question or a `Problem`.
- JSON numbers are counted before they are decoded: a request costs no more memory than the model's inputs are worth.
- What reaches the model is finite and of its shape, so that a failure of the model is never the asker's fault.
- Unknown fields and parameters are ignored, as the protocol says; known parameters of a wrong type are refused.

Forms: https://github.com/kserve/open-inference-protocol, and the extensions "binary tensor data" and "classification"
of Triton.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import msgspec

from wherry.agent.worker.dataplane.datatypes import DATATYPES, datatype
from wherry.agent.worker.dataplane.errors import Problem
from wherry.agent.worker.dataplane.numbers import from_binary, from_json
from wherry.agent.worker.fit import Unfit, check_finite, fit, right_class, shapes_of_one
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

Parameters = dict[str, bool | int | float | str | None]


class InputForm(msgspec.Struct, frozen=True):
    """An input as JSON has it. `data` is decoded once its length is known to be right."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw = msgspec.Raw()


class OutputForm(msgspec.Struct, frozen=True):
    name: str
    parameters: Parameters = {}


class RequestForm(msgspec.Struct, frozen=True):
    inputs: list[InputForm]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[OutputForm] = []


class Wanted(NamedTuple):
    """An output, by its number, and the form that it is wanted in. `top` is of classes, 0 for all numbers."""

    number: int
    binary: bool = False
    real: bool = False
    top: int = 0


class Question(NamedTuple):
    """What to ask the engine, and how to answer. `label` is the right class, where the asker knows it."""

    id: str
    inputs: list[Tensor]
    wanted: list[Wanted]
    label: int | None


_decoder = msgspec.json.Decoder(RequestForm)


def read_request(
    body: bytes, json_length: bytes | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Question:
    """`json_length` is the header Inference-Header-Content-Length. Raises Problem."""
    length = len(body) if json_length is None else _length(json_length, len(body))
    if length == 0 and body:
        return _raw_question(body, inputs, outputs)
    form = _decode(body[:length])
    tensors = _tensors(form, memoryview(body)[length:], inputs)
    return Question(form.id, tensors, [*_wanted(form, outputs)], _label(form, outputs))


def _length(header: bytes, most: int) -> int:
    if not (header.isdigit() and len(header) < 20 and int(header) <= most):
        raise Problem(f"Inference-Header-Content-Length must be a number of at most the {most} bytes of the body")
    return int(header)


def _decode(data: bytes) -> RequestForm:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(f"the body is not an inference request: {error}") from error
    except RecursionError as error:
        raise Problem("the body is not an inference request: it is nested too deeply") from error


def _raw_question(body: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Question:
    """No JSON at all: the body is the stored bytes of the one input, and the answer is in binary form."""
    if len(inputs) != 1:
        raise Problem(f"a body without JSON is for models of one input, this one has {len(inputs)}")
    spec = inputs[0]
    array = from_binary(memoryview(body), spec.name, spec.dtype, spec.shape)
    return Question("", [_fitted(array, spec)], [Wanted(number, binary=True) for number in range(len(outputs))], None)


def _tensors(form: RequestForm, binary: memoryview, specs: Sequence[TensorSpec]) -> list[Tensor]:
    """One stored tensor for each of `specs`, in their order."""
    by_name = {spec.name: spec for spec in specs}
    found: dict[str, Tensor] = {}
    taken = 0
    for entry in form.inputs:
        spec = by_name.get(entry.name)
        if spec is None or entry.name in found:
            what = "is given twice" if spec else "is not an input of the model"
            raise Problem(f"{_quoted(entry.name)} {what}; it takes {', '.join(by_name)}")
        size = _binary_size(entry)
        array = _array(entry, spec, None if size is None else binary[taken : taken + size])
        taken += size or 0
        found[entry.name] = _fitted(array, spec)
    if missing := by_name.keys() - found.keys():
        raise Problem(f"the request lacks the inputs {', '.join(sorted(missing))}")
    if taken != len(binary):
        raise Problem(f"{len(binary)} bytes follow the JSON, and the inputs' binary_data_size are {taken} together")
    return [found[spec.name] for spec in specs]


def _binary_size(entry: InputForm) -> int | None:
    size = entry.parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise Problem(f"binary_data_size of {entry.name} must be a number of bytes")
    return size


def _array(entry: InputForm, spec: TensorSpec, binary: memoryview | None) -> Tensor:
    dtype = DATATYPES.get(entry.datatype)
    if dtype is None:
        raise Problem(f"{spec.name} is {_quoted(entry.datatype)}, the model takes {datatype(spec.dtype)}")
    shape = tuple(entry.shape)
    if shape not in shapes_of_one(spec):
        raise Problem(f"{spec.name} is {_lengths(entry.shape)}, the model takes {[*spec.shape]}: one sample a request")
    if binary is not None:
        return from_binary(binary, spec.name, dtype, shape)
    return from_json(bytes(entry.data), spec.name, dtype, shape)


def _fitted(array: Tensor, spec: TensorSpec) -> Tensor:
    try:
        check_finite(array, spec)
        return fit(array, spec)
    except Unfit as error:
        raise Problem(str(error)) from error


def _wanted(form: RequestForm, specs: Sequence[TensorSpec]) -> Iterator[Wanted]:
    binary, real = _flag(form.parameters, "binary_data_output"), _flag(form.parameters, "dequantize")
    if not form.outputs:
        yield from (Wanted(number, binary, real) for number in range(len(specs)))
    numbers = {spec.name: number for number, spec in enumerate(specs)}
    for entry in form.outputs:
        number = numbers.pop(entry.name, None)
        if number is None:
            names = ", ".join(spec.name for spec in specs)
            raise Problem(f"{_quoted(entry.name)} is not an output of the model, or asked for twice; it has {names}")
        yield Wanted(
            number,
            binary=_flag(entry.parameters, "binary_data", default=binary),
            real=_flag(entry.parameters, "dequantize", default=real),
            top=_top(entry.parameters, specs[number]),
        )


def _flag(parameters: Parameters, name: str, *, default: bool = False) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Problem(f"{name} must be true or false")
    return value


def _top(parameters: Parameters, spec: TensorSpec) -> int:
    """How many classes are wanted; more than there are is all of them."""
    count = parameters.get("classification")
    if count is None:
        return 0
    if type(count) is not int or count < 1:
        raise Problem("classification must be a number of classes, from 1")
    if prod(spec.shape[:-1]) != 1 or not spec.shape:
        raise Problem(f"{spec.name} is {[*spec.shape]}, which is not a row of scores: it has no classification")
    return min(count, spec.shape[-1])


def _label(form: RequestForm, outputs: Sequence[TensorSpec]) -> int | None:
    label = form.parameters.get("label")
    if label is None:
        return None
    try:
        return right_class(label, outputs)
    except Unfit as error:
        raise Problem(str(error)) from error


def _quoted(text: str) -> str:
    """What somebody else wrote, short enough for an error."""
    return repr(text if len(text) <= 100 else text[:100] + "…")


def _lengths(shape: list[int]) -> str:
    return str(shape) if len(shape) <= 8 else f"of {len(shape)} axes"
