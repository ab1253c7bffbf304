"""Brings one source to its float TFLite and compares the two on random inputs, or notes why it was refused.

Run inside of a process that has TensorFlow anyway: many cases for one import.
"""

import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.errors import ConversionError
from wherry.converters.model import End, SourceModel, SourceOptions

Array = npt.NDArray[Any]
SAMPLES = 70
"""More than one batch of the sources."""


class Outcome(msgspec.Struct):
    """What came out of a case. `snr_db` by output; without it, the case was refused as `kind`."""

    snr_db: dict[str, float] = {}
    model: SourceModel | None = None
    digest: str = ""
    constant: bool = False
    kind: str = ""
    message: str = ""
    fix: str = ""


class Cases:
    """Collects outcomes by name; `write` leaves them in a file for the tests."""

    def __init__(self, module: ModuleType, directory: Path) -> None:
        self._module, self._directory = module, directory
        self._found: dict[str, Outcome] = {}

    def try_(self, name: str, path: Path, options: SourceOptions | None = None, samples: int = SAMPLES) -> None:
        scratch = self._directory / f"{name}.scratch"
        scratch.mkdir()
        try:
            self._found[name] = compare(self._module, path, options or SourceOptions(), scratch, samples)
        except ConversionError as error:
            self._found[name] = Outcome(kind=type(error).__name__, message=error.message, fix=error.fix)

    def write(self) -> None:
        (self._directory / "outcomes.json").write_bytes(msgspec.json.encode(self._found))


def outcomes(directory: Path) -> dict[str, Outcome]:
    return msgspec.json.decode((directory / "outcomes.json").read_bytes(), type=dict[str, Outcome])


def compare(source: Any, path: Path, options: SourceOptions, scratch: Path, samples: int) -> Outcome:
    source.inspect(path, options)
    model = source.build(path, options, scratch)
    rng = np.random.default_rng(zlib.crc32(scratch.name.encode()))
    inputs = [random(end, rng, samples) for end in model.inputs]
    expected = source.predict(path, model, options, inputs)
    file = scratch / ("source.tflite" if model.quantized else "float.tflite")
    found = run(file, model, inputs)
    for end, values, other in zip(model.outputs, expected, found, strict=True):
        assert values.shape == other.shape == (samples, *end.sample_shape), (end, values.shape, other.shape)
        assert values.dtype == np.dtype(end.dtype), (end, values.dtype)
    names = [end.name for end in model.outputs]
    return Outcome(
        snr_db={name: snr_db(a, b) for name, a, b in zip(names, expected, found, strict=True)},
        model=model,
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        constant=any(bool((values == values[:1]).all()) for values in expected),
    )


def random(end: End, rng: np.random.Generator, samples: int) -> Array:
    shape = (samples, *end.sample_shape)
    if end.dtype == "bool":
        return rng.random(shape) > 0.5
    if end.dtype.startswith("float"):
        return rng.normal(size=shape).astype(end.dtype)
    high = 256 if end.dtype == "uint8" else 10
    return rng.integers(0, high, shape).astype(end.dtype)


def run(file: Path, model: SourceModel, inputs: list[Array]) -> list[Array]:
    """The file's outputs in LiteRT, [N, *sample_shape] in the source's layout."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
    found: list[list[Array]] = [[] for _ in gives]
    for index in range(len(inputs[0])):
        for detail, end, x in zip(takes, model.inputs, inputs, strict=True):
            value = x[index].reshape(end.shape)
            interpreter.set_tensor(detail["index"], value.transpose(end.axes) if end.axes else value)
        interpreter.invoke()
        for kept, detail, end in zip(found, gives, model.outputs, strict=True):
            value = interpreter.get_tensor(detail["index"])
            kept.append((value.transpose(np.argsort(end.axes)) if end.axes else value).reshape(end.sample_shape))
    return [np.stack(kept) for kept in found]


def snr_db(expected: Array, found: Array) -> float:
    signal, noise = expected.astype(np.float64), expected.astype(np.float64) - found.astype(np.float64)
    power = float((noise**2).mean())
    return 200.0 if power == 0 else float(10 * np.log10((signal**2).mean() / power))


def main(make: Callable[[Path, Cases], None], module: ModuleType, directory: Path) -> None:
    cases = Cases(module, directory)
    make(directory, cases)
    cases.write()
    print(json.dumps(sorted(cases._found)))  # noqa: T201  for whoever runs it by hand
