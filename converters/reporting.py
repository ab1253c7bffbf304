"""The manifest, the report and the other files of a package, from what was found."""

from pathlib import PurePath

import msgspec

from wherry.converters import feeding
from wherry.converters.data import SampleSet
from wherry.converters.data.statistics import InputRange as Measured
from wherry.converters.data.statistics import Spread
from wherry.converters.findings import Accepted, Findings
from wherry.converters.model import End
from wherry.converters.report import (
    DataUsed,
    DataWarning,
    FloatReport,
    InputRange,
    Report,
    Sizes,
    VariantReport,
    encode_report,
)
from wherry.converters.trial import Trial
from wherry.converters.verify import operators, runtimes
from wherry.converters.verify.costs import costs
from wherry.converters.verify.runtime_child import PACKAGES
from wherry.converters.workshop import installed
from wherry.protocol import blob
from wherry.protocol.manifest import HealthLimits, Manifest, TensorSpec, Variant, encode_manifest


def files(found: Findings, report: Report) -> dict[str, bytes]:
    """All files of the package by name."""
    made = {"manifest.json": encode_manifest(manifest(found))}
    for entry in found.accepted:
        made[f"{entry.trial.name}.tflite"] = entry.trial.artifact.content
        made[f"{entry.trial.name}.golden"] = entry.golden
    return made | report_files(report)


def report_files(report: Report) -> dict[str, bytes]:
    from wherry.converters.report_page.page import render

    return {"report.json": encode_report(report), "report.html": render(report)}


def manifest(found: Findings) -> Manifest:
    """What a device must know, with version 0 until the registry numbers it."""
    request = found.request
    return Manifest(
        model=request.name,
        variants=tuple(_variant(found, entry) for entry in found.accepted),
        labels=found.labels,
        health=_health(found),
        source_digest=found.built.origin.digest,
        tools=_tools(found),
    )


def report(found: Findings, steps_s: dict[str, float], cached: list[str], refused: str = "") -> Report:
    """What a person wants to know; `refused` says why no version came about."""
    built, ranges = found.built, found.checks.ranges
    return Report(
        name=found.request.name,
        outcome="refused" if refused else "accepted",
        reason=refused,
        source=_shown(found.request.source),
        framework=built.model.framework,
        source_digest=built.origin.digest,
        recipe=found.request.recipe,
        sizes=Sizes(source_bytes=built.origin.size_bytes, float_bytes=built.file.stat().st_size),
        calibration=_used(found.calibration, [_range(each, each.calibration) for each in ranges]),
        evaluation=None
        if found.evaluation is None
        else _used(found.evaluation, [_range(each, each.evaluation) for each in ranges if each.evaluation]),
        warnings=tuple(
            DataWarning(kind=entry.kind, message=entry.message, fix=entry.fix) for entry in found.checks.warnings
        ),
        ranges=found.ranges,
        parity=found.parity,
        float_model=_float(found),
        variants=_variants(found),
        joins=found.joins,
        remedies=tuple(found.remedies),
        layer_costs=found.costs,
        labels=found.labels,
        confusions=tuple(found.confusions),
        tools=_tools(found),
        steps_s=dict(steps_s),
        cached=tuple(cached),
    )


def _health(found: Findings) -> HealthLimits:
    """As the recipe has it; an output that gives no classes has no predictions that could drift."""
    if any(entry.reference is not None for entry in found.accepted):
        return found.request.recipe.health
    return msgspec.structs.replace(found.request.recipe.health, prediction_psi=None, confidence_shift=None)


def _variant(found: Findings, entry: Accepted) -> Variant:
    artifact, model = entry.trial.artifact, found.built.model
    ends = zip(artifact.inputs, model.inputs, strict=True)
    return Variant(
        name=entry.trial.name,
        artifact=blob.describe(artifact.content),
        inputs=tuple(_named(spec, end, found) for spec, end in ends),
        outputs=tuple(
            msgspec.structs.replace(spec, name=end.name)
            for spec, end in zip(artifact.outputs, model.outputs, strict=True)
        ),
        operators=artifact.operators,
        runtimes=tuple(result.floor for result in entry.results if result.floor is not None),
        golden=blob.describe(entry.golden),
        tolerances=tuple(result.tolerance for result in entry.results if result.tolerance is not None),
        arena_bytes=_arena(entry.trial)[0],
        reference=entry.reference,
    )


def _named(spec: TensorSpec, end: End, found: Findings) -> TensorSpec:
    """With the source's own name, the layout of pictures, and how raw values become real ones."""
    return msgspec.structs.replace(
        spec, name=end.name, layout=feeding.file_layout(end), preprocessing=found.preprocessing.get(end.name)
    )


def _variants(found: Findings) -> tuple[VariantReport, ...]:
    """All that were tried, and those that could not be made."""
    accepted = {entry.trial.name: entry for entry in found.accepted}
    tried = [_tried(found, trial, accepted.get(trial.name)) for trial in found.trials]
    unmade = [name for name in found.refused if all(trial.name != name for trial in found.trials)]
    return (*tried, *(VariantReport(name=name, accepted=False, reason=found.refused[name]) for name in unmade))


def _tried(found: Findings, trial: Trial, accepted: Accepted | None) -> VariantReport:
    artifact = trial.artifact
    work, (arena_bytes, arena_how) = costs(artifact.model), _arena(trial)
    return VariantReport(
        name=trial.name,
        accepted=accepted is not None,
        reason=found.refused.get(trial.name, ""),
        remark=_remark(found, trial),
        digest=artifact.digest,
        artifact_bytes=len(artifact.content),
        golden_bytes=0 if accepted is None else len(accepted.golden),
        macs=work.macs,
        parameters=work.parameters,
        arena_bytes=arena_bytes,
        arena_how=arena_how,
        operators=artifact.operators,
        runtimes=tuple(trial.results if accepted is None else accepted.results),
        layers=found.layers.get(trial.name, ()),
    )


def _arena(trial: Trial) -> tuple[int, str]:
    """Bytes for activations, and whence the number is."""
    measured = max((run.ran.arena_bytes for run in trial.runs), default=0)
    if measured:
        return measured, "measured with built-in kernels"
    return costs(trial.artifact.model).arena_planned_bytes, "planned as TFLite does"


def _remark(found: Findings, trial: Trial) -> str:
    """What is to be known of the variant, and which of its operators' versions had to be believed."""
    unruled = operators.without_rule(trial.artifact.model)
    believed = f"no rule gives the version of {', '.join(unruled)}; the file's own was taken" if unruled else ""
    return "; ".join(part for part in (found.remarks.get(trial.name, ""), believed) if part)


def _float(found: Findings) -> FloatReport | None:
    artifact = found.float_artifact
    if artifact is None:
        return None
    return FloatReport(
        artifact_bytes=len(artifact.content),
        macs=costs(artifact.model).macs,
        runtimes=tuple(found.float_results),
    )


def _range(measured: Measured, values: Spread) -> InputRange:
    return InputRange(
        input=measured.name,
        low=values.low,
        high=values.high,
        mean=values.mean,
        std=values.std,
        histogram=values.histogram,
        axis_low=measured.axis_low,
        axis_high=measured.axis_high,
    )


def _used(samples: SampleSet, ranges: list[InputRange]) -> DataUsed:
    return DataUsed(
        where=_shown(samples.where),
        given=samples.given,
        used=len(samples),
        labelled=samples.labels is not None,
        ranges=tuple(ranges),
    )


def _shown(where: str) -> str:
    """Without the directories of the machine, which mean nothing where the report is read."""
    return PurePath(where).name or where


def _tools(found: Findings) -> dict[str, str]:
    """Versions of all that had a part in the bytes."""
    packages = ("wherry", "numpy", *(PACKAGES[family] for family in runtimes.installed()))
    return dict(found.built.model.tools) | {package: installed(package) for package in packages}
