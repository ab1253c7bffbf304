"""What the steps of a conversion hand on, and the manifest and report made of it."""

from dataclasses import dataclass
from importlib.metadata import version

import wherry
from wherry.converters.data import Samples
from wherry.converters.report import DataUsed, FamilyResult, Parity, Report, Sizes
from wherry.converters.sources import keras
from wherry.converters.verify import golden, runtimes
from wherry.converters.verify.runtime_child import PACKAGES
from wherry.protocol import blob
from wherry.protocol.conversion import ConversionRequest
from wherry.protocol.manifest import Manifest, Operator, TensorSpec, Variant


@dataclass(frozen=True)
class Inputs:
    """What was read: the model's file and digest, and the samples, all and those to be used."""

    file: keras.KerasFile
    source_digest: str
    given: dict[str, Samples]
    calibration: Samples
    evaluation: Samples | None

    @property
    def proof(self) -> Samples:
        """What everything is verified on: candidates for golden vectors first. Labels count only from an evaluation."""
        samples = self.evaluation or Samples(self.calibration.path, self.calibration.x, None)
        return samples.take(golden.order(len(samples)))


@dataclass(frozen=True)
class Converted:
    """The files of a conversion before they are verified."""

    float_file: bytes
    artifact: bytes
    operators: tuple[Operator, ...]
    per_channel_dense: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Verified:
    """What verification found; `runs` are those of the admitted families."""

    parity: Parity
    results: list[FamilyResult]
    runs: list[runtimes.Run]
    float_run: runtimes.Run
    golden: bytes


def manifest(request: ConversionRequest, inputs: Inputs, converted: Converted, verified: Verified) -> Manifest:
    """What a device must know, with version 0 until the registry numbers it."""
    variant = Variant(
        name=request.recipe,
        artifact=blob.describe(converted.artifact),
        inputs=converted.inputs,
        outputs=converted.outputs,
        operators=converted.operators,
        runtimes=tuple(result.floor for result in verified.results if result.floor is not None),
        golden=blob.describe(verified.golden),
        tolerances=tuple(result.tolerance for result in verified.results if result.tolerance is not None),
    )
    return Manifest(
        model=request.name,
        variants=(variant,),
        labels=request.labels,
        health=request.health,
        source_digest=inputs.source_digest,
        tools=_tools(inputs.file.library),
    )


def report(
    request: ConversionRequest, inputs: Inputs, converted: Converted, verified: Verified, took_s: dict[str, float]
) -> Report:
    """What a person wants to know; `took_s` are seconds by step."""
    return Report(
        name=request.name,
        variant=request.recipe,
        recipe=request.recipe,
        source=request.source,
        source_digest=inputs.source_digest,
        artifact_digest=blob.sha256(converted.artifact),
        sizes=Sizes(
            source_bytes=inputs.file.path.stat().st_size,
            float_bytes=len(converted.float_file),
            artifact_bytes=len(converted.artifact),
            golden_bytes=len(verified.golden),
        ),
        calibration=_used(inputs.given["calibration"], inputs.calibration),
        evaluation=None if inputs.evaluation is None else _used(inputs.given["evaluation"], inputs.evaluation),
        parity=verified.parity,
        runtimes=tuple(verified.results),
        operators=converted.operators,
        float_runtime=f"{verified.float_run.family} {verified.float_run.ran.version}",
        float_p50_ms=round(verified.float_run.ran.p50_ms, 4),
        tools=_tools(inputs.file.library),
        steps_s=took_s,
    )


def _used(given: Samples, used: Samples) -> DataUsed:
    low, high = given.span
    return DataUsed(
        path=str(given.path), given=len(given), used=len(used), labelled=given.y is not None, low=low, high=high
    )


def _tools(library: keras.Library) -> dict[str, str]:
    """Versions of all that had a part in the bytes."""
    packages = ["tensorflow", library.replace("_", "-"), "numpy"]
    packages += [PACKAGES[family] for family in runtimes.installed()]
    return {"wherry": wherry.__version__} | {package: version(package) for package in packages}
