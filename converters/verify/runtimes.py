"""Runs a file in every installed runtime family, each in its own child process.

Rules upheld here:
- A family that refuses, crashes, hangs or answers NaN is a result with a reason, not an exception.
- Outputs come back as real values beside the stored ones, so that all comparing is done in real values.
"""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.verify.golden import CANDIDATES
from wherry.converters.verify.runtime_child import MODULES, Job, Ran
from wherry.protocol import preparation
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.runtime import Family

LEAST = 100
"""A slow model is judged on at least this many samples, where 1 % is one sample; a fast one on all."""

ENOUGH_S = 6.0
"""For all samples of one run; what a slow model is judged on is cut to one of the numbers in `TIERS`."""

TIMED, TIMED_S = 20, 1.0
"""Latency is that of at least so many samples, or of as many as so many seconds hold."""

TIMEOUT_S = 900.0

_CHUNK = 16

_AT_ONCE = 2
"""Children at a time: more would measure each other's load."""

Arrays = list[npt.NDArray[Any]]
Reals = list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class File:
    """A `.tflite` file with its ends; the first `repeated` samples are run by every kernel."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    repeated: int = CANDIDATES


@dataclass(frozen=True)
class Run:
    """What a family made of a file: arrays [n, ...] by output, in the output's own type; empty where `ran.error`."""

    family: Family
    ran: Ran
    file: File
    stored: Arrays
    again: Arrays
    plain: Arrays

    @property
    def real(self) -> Reals:
        """The outputs as real values."""
        assert not self.ran.error, self.ran.error
        return [preparation.to_real(stored, spec) for stored, spec in zip(self.stored, self.file.outputs, strict=True)]

    @property
    def kernels(self) -> list[Arrays]:
        """The candidates' outputs by default, in a fresh interpreter, and with XNNPACK off; none after an error."""
        if self.ran.error:
            return []
        count = self.file.repeated
        return [[stored[:count] for stored in way] for way in (self.stored, self.again, self.plain)]


def installed() -> tuple[Family, ...]:
    """The families of this environment, LiteRT first."""
    order: tuple[Family, ...] = ("litert", "tflite-runtime")
    return tuple(family for family in order if find_spec(MODULES[family]) is not None)


def run_all(
    wanted: list[tuple[Family, File]], samples: Sequence[npt.NDArray[Any]], scratch: Path, *, memory_bytes: int = 0
) -> list[Run]:
    """Run each file in its family on `samples`, [N, ...] by input; results in the order of `wanted`."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(_run, family, file, samples, scratch, memory_bytes) for family, file in wanted]
        return [job.result() for job in jobs]


def time_alone(
    family: Family, file: File, samples: Sequence[npt.NDArray[Any]], scratch: Path, *, memory_bytes: int = 0
) -> Ran:
    """The figures of a family, when the caller lets nothing else run."""
    place = Path(tempfile.mkdtemp(prefix=f"{family}-", dir=scratch))
    return _in_child(
        _job(family, file, [x[:LEAST] for x in samples], place, memory_bytes, least=TIMED, box_s=TIMED_S, tiers=False)
    )


def _run(family: Family, file: File, samples: Sequence[npt.NDArray[Any]], scratch: Path, memory_bytes: int) -> Run:
    place = Path(tempfile.mkdtemp(prefix=f"{family}-", dir=scratch))
    job = _job(family, file, samples, place, memory_bytes, least=LEAST, box_s=ENOUGH_S)
    ran = _in_child(job)
    Path(job.inputs_path).unlink()
    if ran.error:
        return Run(family, ran, file, [], [], [])
    with np.load(job.outputs_path) as arrays:
        ways = [[arrays[f"{way}{index}"] for index in range(len(file.outputs))] for way in ("all", "again", "plain")]
    return _checked(Run(family, ran, file, *ways))


def _job(
    family: Family,
    file: File,
    samples: Sequence[npt.NDArray[Any]],
    place: Path,
    memory_bytes: int,
    *,
    least: int,
    box_s: float,
    tiers: bool = True,
) -> Job:
    """Its inputs lie in `place`, as the model takes them."""
    inputs = place / "inputs.npz"
    stored = (_stored(x, spec) for x, spec in zip(samples, file.inputs, strict=True))
    np.savez(inputs, **{str(index): array for index, array in enumerate(stored)})
    return Job(
        family=family, model_path=str(file.path), inputs_path=str(inputs), outputs_path=str(place / "outputs.npz"),
        repeated=file.repeated, least=least, box_s=box_s, tiers=tiers, memory_bytes=memory_bytes,
    )  # fmt: skip


def _stored(x: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    """All samples as the model takes them, some at a time: in between they are float64."""
    found = np.empty(x.shape, spec.dtype)
    for start in range(0, len(x), _CHUNK):
        found[start : start + _CHUNK] = preparation.to_stored(x[start : start + _CHUNK], spec)
    return found


def _in_child(job: Job) -> Ran:
    command = [sys.executable, "-m", "wherry.converters.verify.runtime_child"]
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode(job),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return Ran(version="", error=f"did not finish within {TIMEOUT_S:.0f} s")
    if done.returncode < 0:
        return Ran(version="", error=f"the runtime died of {signal.Signals(-done.returncode).name}")
    if done.returncode > 0:
        said = done.stderr.decode(errors="replace")[-2000:]
        if os.strerror(errno.ENOSPC) in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), job.outputs_path)
        raise RuntimeError(f"runtime child of {job.family} failed: {said}")
    return msgspec.json.decode(Path(job.outputs_path).with_suffix(".json").read_bytes(), type=Ran)


def _checked(run: Run) -> Run:
    if all(np.isfinite(real).all() for real in run.real):
        return run
    error = "answers with NaN or infinite values"
    return Run(run.family, msgspec.structs.replace(run.ran, error=error), run.file, [], [], [])
