"""Runs a file in every installed runtime family, each in its own child process.

Rules upheld here:
- A family that refuses, crashes, hangs or answers NaN is a result with a reason, not an exception.
- Outputs come back as real values beside the stored ones, so that all comparing is done in real values.
"""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.compress import affine
from wherry.converters.verify.golden import CANDIDATES
from wherry.converters.verify.runtime_child import MODULES, Job, Ran
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.runtime import Family

LEAST = 100
"""A slow model is judged on at least this many samples, where 1 % is one sample; a fast one on all."""

BOX_S = 3.0
TIMEOUT_S = 120.0

_AT_ONCE = 2
"""Children at a time: more would measure each other's load."""


@dataclass(frozen=True)
class File:
    """A `.tflite` file with its only input and output; the first `repeated` inputs are run by every kernel."""

    path: Path
    input: TensorSpec
    output: TensorSpec
    repeated: int = CANDIDATES


@dataclass(frozen=True)
class Run:
    """What a family made of a file. `stored` etc. are [n, ...] in the output's own type; None where `ran.error`."""

    family: Family
    ran: Ran
    output: TensorSpec
    stored: npt.NDArray[Any] | None = None
    again: npt.NDArray[Any] | None = None
    plain: npt.NDArray[Any] | None = None

    @property
    def real(self) -> npt.NDArray[np.float32]:
        """The outputs as real values."""
        assert self.stored is not None, self.ran.error
        return to_real(self.stored, self.output)


def installed() -> tuple[Family, ...]:
    """The families of this environment, LiteRT first."""
    order: tuple[Family, ...] = ("litert", "tflite-runtime")
    return tuple(family for family in order if find_spec(MODULES[family]) is not None)


def run_all(wanted: list[tuple[Family, File]], x: npt.NDArray[np.float32], scratch: Path) -> list[Run]:
    """Run each file in its family on `x` [N, ...]; results in the order of `wanted`."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(_run, family, file, x, scratch) for family, file in wanted]
        return [job.result() for job in jobs]


def to_stored(x: npt.NDArray[np.float32], spec: TensorSpec) -> npt.NDArray[Any]:
    """Real inputs in the type that the model takes."""
    return x if spec.quantization is None else affine.quantize(x, spec.quantization)


def to_real(stored: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[np.float32]:
    """Stored outputs as real values."""
    if spec.quantization is None:
        return stored.astype(np.float32)
    return affine.dequantize(stored, spec.quantization)


def _run(family: Family, file: File, x: npt.NDArray[np.float32], scratch: Path) -> Run:
    stem = scratch / f"{file.path.stem}.{family}"
    inputs, outputs = stem.with_suffix(f"{stem.suffix}.npy"), stem.with_suffix(f"{stem.suffix}.npz")
    np.save(inputs, to_stored(x, file.input))
    job = Job(
        family=family, model_path=str(file.path), inputs_path=str(inputs), outputs_path=str(outputs),
        repeated=file.repeated, least=LEAST, box_s=BOX_S,
    )  # fmt: skip
    ran = _in_child(job)
    if ran.error:
        return Run(family, ran, file.output)
    with np.load(outputs) as arrays:
        return _checked(Run(family, ran, file.output, arrays["all"], arrays["again"], arrays["plain"]))


def _in_child(job: Job) -> Ran:
    command = [sys.executable, "-m", "wherry.converters.verify.runtime_child"]
    try:
        done = subprocess.run(
            command, input=msgspec.json.encode(job), capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Ran(version="", error=f"did not finish within {TIMEOUT_S:.0f} s")
    if done.returncode < 0:
        return Ran(version="", error=f"the runtime died of {signal.Signals(-done.returncode).name}")
    if done.returncode > 0:
        raise RuntimeError(f"runtime child of {job.family} failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(Path(job.outputs_path).with_suffix(".json").read_bytes(), type=Ran)


def _checked(run: Run) -> Run:
    if np.isfinite(run.real).all():
        return run
    error = "answers with NaN or infinite values"
    return Run(run.family, msgspec.structs.replace(run.ran, error=error), run.output)
