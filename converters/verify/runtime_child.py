"""Runs one `.tflite` file in one runtime family, in a process of its own.

Started as `python -m wherry.converters.verify.runtime_child`, with a Job as JSON on standard input. A
file that crashes its runtime takes down only this process, which imports the runtime and numpy
and nothing heavier. It is killed with its parent.
"""

import ctypes
import math
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.verify import live
from wherry.protocol.runtime import Family
from wherry.protocol.types import Count, Seconds, Struct

PACKAGES: dict[Family, str] = {"tflite-runtime": "tflite-runtime", "litert": "ai-edge-litert"}
MODULES: dict[Family, str] = {"tflite-runtime": "tflite_runtime", "litert": "ai_edge_litert"}

WAYS = ("all", "again", "plain")
"""Which outputs there are: of every input; of the first ones in a fresh interpreter; of those with XNNPACK off."""

TIERS = (100, 300, 1000, 3000, 10_000)
REHEARSALS = 5

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Array = npt.NDArray[Any]


class Job(Struct, frozen=True, kw_only=True):
    """`inputs_path` (.npz) holds each input as "0", "1" …: [N, ...] in the model's own types.

    Results go to `outputs_path` (.npz) as "all0", "again0", "plain0" …, each [n, ...]. The first `repeated`
    inputs are run three times: with the others, in a fresh interpreter, and with XNNPACK off.

    As many inputs are run as fit into `box_s`, but `least` at least. With `tiers` that is foreseen from the fastest
    of some runs and cut to a round number, so that a busy machine seldom comes to another; otherwise the clock decides.
    """

    family: Family
    model_path: str
    inputs_path: str
    outputs_path: str
    repeated: Count
    least: Count
    box_s: Seconds
    tiers: bool = True
    memory_bytes: Count = 0


class Ran(Struct, frozen=True, kw_only=True):
    """`error` says why the runtime refused the file; the figures are then 0."""

    version: str
    load_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    delegated_ops: Count | None = None
    all_ops: Count | None = None
    arena_bytes: Count = 0
    error: str = ""


def run(job: Job) -> Ran:
    """Carry out the job; whatever the runtime raises becomes `error`."""
    found = version(PACKAGES[job.family])
    try:
        with np.load(job.inputs_path) as archive:
            inputs = [archive[str(index)] for index in range(len(archive.files))]
        first = [x[: job.repeated] for x in inputs]
        started = time.perf_counter()
        fast = _interpreter(job, xnnpack=True)
        load_ms = (time.perf_counter() - started) * 1e3
        every, took_ms = _run_in_box(_invoker(fast), inputs, job)
        again = _outputs(_invoker(_interpreter(job, xnnpack=True)), first)
        built_in = _interpreter(job, xnnpack=False)
        delegated_ops, all_ops = live.delegated(fast)
        # Without a delegate the kernels are built in already; one run tells the memory.
        plain = _outputs(_invoker(built_in), first if delegated_ops else [x[:1] for x in first])
        if not delegated_ops:
            plain = again
        arena_bytes = live.arena_measured(built_in)
    except (ValueError, RuntimeError, MemoryError) as error:
        return Ran(version=found, error=" ".join(str(error).split())[:300] or type(error).__name__)
    ways = zip(WAYS, (every, again, plain), strict=True)
    named = {f"{way}{index}": stored for way, outputs in ways for index, stored in enumerate(outputs)}
    np.savez(job.outputs_path, **named)
    p50_ms, p95_ms = np.percentile(took_ms, [50, 95])
    return Ran(
        version=found,
        load_ms=load_ms,
        p50_ms=float(p50_ms),
        p95_ms=float(p95_ms),
        delegated_ops=delegated_ops,
        all_ops=all_ops,
        arena_bytes=arena_bytes,
    )


def _interpreter(job: Job, *, xnnpack: bool) -> Any:
    """With its tensors allocated; one thread."""
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
    return interpreter


def _invoker(interpreter: Any) -> Callable[[Sequence[Array]], list[Array]]:
    """A function from the inputs of one sample to its outputs."""
    sources = [(entry["index"], tuple(entry["shape"])) for entry in interpreter.get_input_details()]
    targets = [entry["index"] for entry in interpreter.get_output_details()]

    def invoke(sample: Sequence[Array]) -> list[Array]:
        for (index, shape), x in zip(sources, sample, strict=True):
            interpreter.set_tensor(index, x.reshape(shape))
        interpreter.invoke()
        return [_without_batch(interpreter.get_tensor(index)) for index in targets]

    return invoke


def _without_batch(output: Array) -> Array:
    return output[0] if output.ndim > 1 and len(output) == 1 else output


def _run_in_box(
    invoke: Callable[[Sequence[Array]], list[Array]], inputs: list[Array], job: Job
) -> tuple[list[Array], list[float]]:
    """Outputs and times in milliseconds, of as many samples as the time box holds."""
    outputs, took_ms = [], []
    first = [x[0] for x in inputs]
    invoke(first)  # the first call plans memory and packs weights
    if job.tiers:
        count = _foreseen(invoke, first, job, len(inputs[0]))
        inputs, deadline = [x[:count] for x in inputs], math.inf
    else:
        deadline = time.perf_counter() + job.box_s
    for index, sample in enumerate(zip(*inputs, strict=True)):
        started = time.perf_counter()
        if index >= job.least and started > deadline:
            break
        outputs.append(invoke(sample))
        took_ms.append((time.perf_counter() - started) * 1e3)
    return _stacked(outputs), took_ms


def _foreseen(invoke: Callable[[Sequence[Array]], list[Array]], sample: Sequence[Array], job: Job, given: int) -> int:
    """How many inputs to run."""
    fastest_s = math.inf
    for _ in range(REHEARSALS):
        started = time.perf_counter()
        invoke(sample)
        fastest_s = min(fastest_s, time.perf_counter() - started)
    fitting = job.box_s / max(fastest_s, 1e-9)
    if fitting >= given:
        return given
    return min(given, max((tier for tier in TIERS if tier <= fitting), default=job.least))


def _outputs(invoke: Callable[[Sequence[Array]], list[Array]], inputs: list[Array]) -> list[Array]:
    return _stacked([invoke(sample) for sample in zip(*inputs, strict=True)])


def _stacked(samples: list[list[Array]]) -> list[Array]:
    """From one list of outputs a sample to one array [n, ...] an output."""
    return [np.stack(output) for output in zip(*samples, strict=True)]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    if job.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (job.memory_bytes, job.memory_bytes))
    ran = run(job)
    Path(job.outputs_path).with_suffix(".json").write_bytes(msgspec.json.encode(ran))


if __name__ == "__main__":
    main()
