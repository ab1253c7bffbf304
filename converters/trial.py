"""One variant on trial: made, looked into, run in every installed runtime, and judged."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from wherry.converters.errors import NoRuntime
from wherry.converters.report import FamilyResult, Scores
from wherry.converters.verify import budget, families, golden, operators, runtimes
from wherry.protocol import blob
from wherry.protocol.manifest import Operator, TensorSpec
from wherry.protocol.runtime import Family

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Artifact:
    """A `.tflite` file and what stands in it; operator versions are those that its tensors need."""

    path: Path
    content: bytes
    model: Any = field(repr=False)
    operators: tuple[Operator, ...]
    per_channel_dense: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def file(self, repeated: int = golden.CANDIDATES) -> runtimes.File:
        """As the runtimes take it."""
        return runtimes.File(self.path, self.inputs, self.outputs, repeated)

    @property
    def digest(self) -> str:
        return blob.sha256(self.content)


@dataclass(frozen=True)
class Trial:
    """What became of a variant; `runs` and `results` are by family, in the same order."""

    name: str
    artifact: Artifact
    runs: list[runtimes.Run]
    results: list[FamilyResult]

    @property
    def ok(self) -> bool:
        """Whether at least one family may have it."""
        return any(result.ok for result in self.results)

    @property
    def holds(self) -> bool:
        """Whether every family that runs the file keeps the budget."""
        ran = [result for result in self.results if result.scores is not None]
        return bool(ran) and all(result.ok for result in ran)

    @property
    def admitted(self) -> list[runtimes.Run]:
        return [run for run, result in zip(self.runs, self.results, strict=True) if result.ok]

    @property
    def worst(self) -> Scores | None:
        """The scores of the family that is farthest from float; None where none ran the file."""
        scores = [result.scores for result in self.results if result.scores is not None]
        return min(scores, key=lambda found: found.snr_db) if scores else None


@dataclass(frozen=True)
class Bench:
    """What every variant of a conversion is tried on. `reference` is empty where there is no float model."""

    samples: list[Array]
    reference: runtimes.Reals
    stick: budget.Yardstick
    scratch: Path
    memory_bytes: int
    layers: dict[str, str]


def look_into(path: Path, layers: dict[str, str]) -> Artifact:
    """Read the file's operators and ends. Raises UnsupportedOperators for what no runtime has built in."""
    content = path.read_bytes()
    model = operators.parse(content)
    found = operators.operators(model, layers)
    inputs, outputs = operators.tensor_specs(model)
    return Artifact(
        path=path,
        content=content,
        model=model,
        operators=found,
        per_channel_dense=operators.has_per_channel_dense(model),
        inputs=inputs,
        outputs=outputs,
    )


def attempt(name: str, path: Path, bench: Bench, *, quick: bool = False) -> Trial:
    """Run the file in every installed family, or only in the first, and judge it."""
    artifact = look_into(path, bench.layers)
    runs = run_in(installed()[: 1 if quick else None], artifact.file(1 if quick else golden.CANDIDATES), bench)
    reference = bench.reference or next((run.real for run in runs if not run.ran.error), [])
    return Trial(name, artifact, runs, [families.judge(run, reference, bench.stick) for run in runs])


def installed() -> tuple[Family, ...]:
    """The families of this environment, LiteRT first. Raises NoRuntime where there is none."""
    found = runtimes.installed()
    if not found:
        raise NoRuntime("no TFLite runtime is installed here, so nothing can be verified", "install wherry[tflite]")
    return found


def run_in(wanted: tuple[Family, ...], file: runtimes.File, bench: Bench) -> list[runtimes.Run]:
    """The file in each of the families, in their order."""
    jobs = [(family, file) for family in wanted]
    return runtimes.run_all(jobs, bench.samples, bench.scratch, memory_bytes=bench.memory_bytes)


def timed(artifact: Artifact, results: list[FamilyResult], bench: Bench) -> list[FamilyResult]:
    """The results with the latency of each family that runs the file, one after another."""
    found = []
    for result in results:
        ran = None
        if result.p50_ms is not None:
            file = artifact.file(repeated=1)
            ran = runtimes.time_alone(
                result.family, file, bench.samples, bench.scratch, memory_bytes=bench.memory_bytes
            )
        found.append(result if ran is None or ran.error else families.with_latency(result, ran))
    return found
