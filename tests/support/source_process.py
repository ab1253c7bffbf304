"""Runs sources in a process of their own, as the pipeline does: TensorFlow and torch stay out of the tests'.

A step goes through all jobs: `inspect`, `to_onnx`, `build`, or `compare`, which runs the float TFLite and the
source on the same random inputs. What a job says is in the `results.json` beside it.
"""

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from wherry.converters.errors import ConversionError
from wherry.converters.model import SourceModel, SourceOptions

ROWS = 3


@dataclass
class Job:
    """A source to bring to TFLite. `kind` and `message` are of the error, `db` is the agreement of each output."""

    module: str
    path: Path
    scratch: Path
    options: SourceOptions = field(default_factory=SourceOptions)
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> SourceModel:
        assert "kind" not in self.result, self.result
        return msgspec.convert(self.result["model"], SourceModel)

    @property
    def db(self) -> list[float]:
        assert "kind" not in self.result, self.result
        return [float(value) for value in self.result["db"]]

    @property
    def error(self) -> tuple[str, str, str]:
        return self.result.get("kind", ""), self.result.get("message", ""), self.result.get("fix", "")


def run(jobs: list[Job], *steps: str) -> None:
    """Take all jobs through the steps, each in a new process; a job that failed takes no further ones."""
    for step in steps:
        for job in jobs:
            job.scratch.mkdir(parents=True, exist_ok=True)
        orders = [
            {
                "module": job.module,
                "path": str(job.path),
                "scratch": str(job.scratch),
                "options": msgspec.to_builtins(job.options),
                "result": job.result,
            }
            for job in jobs
        ]
        command = [sys.executable, "-m", "tests.support.spare", "tests.support.source_process", step]
        done = subprocess.run(command, input=json.dumps(orders), capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stderr[-4000:]
        for job, result in zip(jobs, json.loads(done.stdout.splitlines()[-1]), strict=True):
            job.result = result


def _do(step: str, order: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = order["result"]
    if "kind" in result:
        return result
    source = importlib.import_module(f"wherry.converters.sources.{order['module']}")
    options, path, scratch = (
        msgspec.convert(order["options"], SourceOptions),
        Path(order["path"]),
        Path(order["scratch"]),
    )
    try:
        if step == "inspect":
            source.inspect(path, options)
            heavy = [name for name in ("tensorflow", "torch", "onnxruntime") if name in sys.modules]
            return {**result, "heavy": heavy}
        if step == "to_onnx":
            source.to_onnx(path, options, scratch / "source.onnx")
        if step == "build":
            result["model"] = msgspec.to_builtins(source.build(path, options, scratch))
        if step == "compare":
            result["db"] = _compare(source, path, options, scratch, msgspec.convert(result["model"], SourceModel))
    except ConversionError as error:
        return {"kind": type(error).__name__, "message": error.message, "fix": error.fix}
    return result


def _compare(source: Any, path: Path, options: SourceOptions, scratch: Path, model: SourceModel) -> list[float]:
    from ai_edge_litert.interpreter import Interpreter

    random = np.random.default_rng(11)
    inputs = [
        (random.standard_normal((ROWS, *end.sample_shape)) if end.dtype.startswith("float") else
         random.integers(0, 2, (ROWS, *end.sample_shape))).astype(end.dtype)
        for end in model.inputs
    ]  # fmt: skip
    wanted = source.predict(path, model, options, inputs)
    interpreter = Interpreter(model_path=str(scratch / "float.tflite"))
    interpreter.allocate_tensors()
    noise, signal = [0.0] * len(model.outputs), [1e-30] * len(model.outputs)
    for row in range(ROWS):
        for end, x, detail in zip(model.inputs, inputs, interpreter.get_input_details(), strict=True):
            value = x[row].reshape(end.shape).transpose(end.axes or range(len(end.shape)))
            interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
        interpreter.invoke()
        for index, (end, detail) in enumerate(zip(model.outputs, interpreter.get_output_details(), strict=True)):
            y = wanted[index][row].reshape(end.shape).transpose(end.axes or range(len(end.shape))).astype(np.float64)
            found = interpreter.get_tensor(detail["index"])
            assert found.shape == y.shape, (end, found.shape)
            noise[index] += float(np.sum((y - found) ** 2))
            signal[index] += float(np.sum(y**2))
    return [float(10 * np.log10(s / max(n, s * 1e-20))) for s, n in zip(signal, noise, strict=True)]


if __name__ == "__main__":
    sys.stdout, genuine = sys.stderr, sys.stdout
    results = [_do(sys.argv[1], order) for order in json.loads(sys.stdin.read())]
    print("\n" + json.dumps(results), file=genuine)
