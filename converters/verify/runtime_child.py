"""Runs one `.tflite` file in one runtime family, in a process of its own.

Started as `python -m wherry.converters.verify.runtime_child`, with a Job as JSON on standard input. A
file that crashes its runtime takes down only this process, which imports the runtime and numpy
and nothing heavier.
"""

import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.protocol.runtime import Family
from wherry.protocol.types import Count, Seconds, Struct

PACKAGES: dict[Family, str] = {"tflite-runtime": "tflite-runtime", "litert": "ai-edge-litert"}
MODULES: dict[Family, str] = {"tflite-runtime": "tflite_runtime", "litert": "ai_edge_litert"}

Array = npt.NDArray[Any]


class Job(Struct, frozen=True, kw_only=True):
    """`inputs_path` holds [N, ...] in the model's own input type; results go to `outputs_path` (.npz).

    The first `repeated` inputs are run three times: with the others, in a fresh interpreter, and
    with XNNPACK off. After `box_s` no more inputs are begun, except up to `least`.
    """

    family: Family
    model_path: str
    inputs_path: str
    outputs_path: str
    repeated: Count
    least: Count
    box_s: Seconds


class Ran(Struct, frozen=True, kw_only=True):
    """`error` says why the runtime refused the file; the figures are then 0."""

    version: str
    load_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    error: str = ""


def run(job: Job) -> Ran:
    """Carry out the job; whatever the runtime raises becomes `error`."""
    found = version(PACKAGES[job.family])
    inputs = np.load(job.inputs_path, mmap_mode="r")
    first = inputs[: job.repeated]
    try:
        started = time.perf_counter()
        invoke = _interpreter(job, xnnpack=True)
        load_ms = (time.perf_counter() - started) * 1e3
        outputs, took_ms = _run_in_box(invoke, inputs, job)
        again = _outputs(_interpreter(job, xnnpack=True), first)
        plain = _outputs(_interpreter(job, xnnpack=False), first)
    except (ValueError, RuntimeError) as error:
        return Ran(version=found, error=" ".join(str(error).split())[:300] or type(error).__name__)
    np.savez(job.outputs_path, all=outputs, again=again, plain=plain)
    p50_ms, p95_ms = np.percentile(took_ms, [50, 95])
    return Ran(version=found, load_ms=load_ms, p50_ms=float(p50_ms), p95_ms=float(p95_ms))


def _interpreter(job: Job, *, xnnpack: bool) -> Callable[[Array], Array]:
    """A function from one input to one output, both without the batch; one thread."""
    if job.family == "litert":
        from ai_edge_litert import interpreter as runtime
    else:
        from tflite_runtime import interpreter as runtime
    kinds = runtime.OpResolverType
    interpreter = runtime.Interpreter(
        model_path=job.model_path,
        num_threads=1,
        experimental_op_resolver_type=kinds.AUTO if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def invoke(x: Array) -> Array:
        interpreter.set_tensor(source, x[None])
        interpreter.invoke()
        output: Array = interpreter.get_tensor(target)[0]
        return output

    return invoke


def _run_in_box(invoke: Callable[[Array], Array], inputs: Array, job: Job) -> tuple[Array, list[float]]:
    """Outputs and times in milliseconds, of as many inputs as the time box holds."""
    outputs, took_ms = [], []
    invoke(inputs[0])  # the first call plans memory and packs weights
    deadline = time.perf_counter() + job.box_s
    for index, x in enumerate(inputs):
        started = time.perf_counter()
        if index >= job.least and started > deadline:
            break
        outputs.append(invoke(x))
        took_ms.append((time.perf_counter() - started) * 1e3)
    return np.stack(outputs), took_ms


def _outputs(invoke: Callable[[Array], Array], inputs: Array) -> Array:
    return np.stack([invoke(x) for x in inputs])


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    ran = run(job)
    Path(job.outputs_path).with_suffix(".json").write_bytes(msgspec.json.encode(ran))


if __name__ == "__main__":
    main()
