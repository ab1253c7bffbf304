"""One conversion from request to package: source, float TFLite, compress, verify, package.

A conversion that cannot be shown to be right does not produce a package. TensorFlow is imported once, by
the second step, after everything that can be refused without it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from wherry.converters import findings, package
from wherry.converters.compress import quantize
from wherry.converters.data import Samples, check_fits, check_varies, evenly, load_samples
from wherry.converters.errors import BadRequest, NoRuntime, ParityLost
from wherry.converters.findings import Converted, Inputs, Verified
from wherry.converters.report import Report, encode_report
from wherry.converters.sources import keras
from wherry.converters.steps import Steps
from wherry.converters.verify import compare, families, golden, operators, parity, runtimes
from wherry.converters.verify.budget import Budget, range_hint
from wherry.protocol import blob
from wherry.protocol.conversion import ConversionRequest, Progress
from wherry.protocol.golden import encode_golden
from wherry.protocol.manifest import encode_manifest

MAX_CALIBRATION = 256
"""Ranges settle after some dozens of samples; more only cost time."""

MAX_EVALUATION = 1000
PARITY_SAMPLES = 256


def convert(request: ConversionRequest, say: Callable[[Progress], None]) -> Report:
    """Carry out the request; the package lies in `out_dir` on return. Raises ConversionError."""
    steps = Steps(say)
    out_dir = Path(request.out_dir)
    package.check_free(out_dir)
    with steps.next():
        inputs = _read(request)
    with package.staging(out_dir) as stage:
        with steps.next():
            source = keras.load(inputs.file)
            _check_fits(request, inputs, source)
            expected = keras.predict(source, inputs.proof.x[:PARITY_SAMPLES])
        with steps.next():
            saved_model = stage.scratch / "saved_model"
            keras.export(source, saved_model)
            float_file = quantize.to_float(saved_model)
        with steps.next(request.recipe):
            artifact = quantize.PASSES[request.recipe](saved_model, inputs.calibration.x)
            converted = _describe(float_file, artifact)
        with steps.next(", ".join(runtimes.installed())):
            runs = _run(converted, inputs.proof, stage.scratch)
        with steps.next():
            verified = _verify(request, inputs, converted, expected, runs)
            stage.write(f"{request.recipe}.tflite", converted.artifact)
            stage.write(f"{request.recipe}.golden", verified.golden)
            stage.write("manifest.json", encode_manifest(findings.manifest(request, inputs, converted, verified)))
        report = findings.report(request, inputs, converted, verified, steps.took_s)
        stage.write("report.json", encode_report(report))
        stage.publish()
    return report


def _read(request: ConversionRequest) -> Inputs:
    path = Path(request.source)
    file = keras.inspect(path)
    given = {"calibration": load_samples(Path(request.calibration))}
    if request.evaluation is not None:
        given["evaluation"] = load_samples(Path(request.evaluation))
    limit = {"calibration": MAX_CALIBRATION, "evaluation": MAX_EVALUATION}
    used = {name: samples.take(evenly(len(samples), limit[name])) for name, samples in given.items()}
    return Inputs(file, blob.sha256(path.read_bytes()), given, used["calibration"], used.get("evaluation"))


def _check_fits(request: ConversionRequest, inputs: Inputs, source: keras.Source) -> None:
    classes = source.output_shape[0] if compare.is_scores(source.output_shape) else None
    for samples in inputs.given.values():
        check_fits(samples, source.input_shape, classes)
        check_varies(samples)
    if request.labels and len(request.labels) != classes:
        raise BadRequest(
            f"{len(request.labels)} labels for a model with {classes or 'no'} classes",
            "give one label a class, in the order of the model's output",
        )


def _describe(float_file: bytes, artifact: bytes) -> Converted:
    model = operators.parse(artifact)
    return Converted(
        float_file,
        artifact,
        operators.operators(model),
        operators.has_per_channel_dense(model),
        *operators.tensor_specs(model),
    )


def _run(converted: Converted, proof: Samples, scratch: Path) -> list[runtimes.Run]:
    """The float file in the first installed family, then the artifact in each."""
    installed = runtimes.installed()
    if not installed:
        raise NoRuntime("no TFLite runtime is installed here, so nothing can be verified", "install wherry[tflite]")
    ends = operators.tensor_specs(operators.parse(converted.float_file))
    reference = runtimes.File(scratch / "float.tflite", ends[0][0], ends[1][0], repeated=1)
    artifact = runtimes.File(scratch / "artifact.tflite", converted.inputs[0], converted.outputs[0])
    reference.path.write_bytes(converted.float_file)
    artifact.path.write_bytes(converted.artifact)
    wanted = [(installed[0], reference), *((family, artifact) for family in installed)]
    return runtimes.run_all(wanted, proof.x, scratch)


def _verify(
    request: ConversionRequest,
    inputs: Inputs,
    converted: Converted,
    expected: compare.Outputs,
    runs: list[runtimes.Run],
) -> Verified:
    reference, *found = runs
    if reference.stored is None:
        raise ParityLost(f"{reference.family} does not run the float TFLite: {reference.ran.error}")
    shown = parity.require(expected[: len(reference.stored)], reference.real[: len(expected)])
    limits = Budget(max_accuracy_loss=request.max_accuracy_loss, min_agreement=request.min_agreement)
    proof = inputs.proof
    results = [families.judge(run, reference.real, proof.y, limits) for run in found]
    families.require_any(results, range_hint(inputs.calibration.span, proof.span))
    admitted = [run for run, result in zip(found, results, strict=True) if result.ok]
    spreads = families.candidate_spreads(admitted)
    chosen = golden.choose(spreads)
    calm = np.flatnonzero(spreads <= spreads[chosen].max())
    dense = converted.per_channel_dense
    results = [families.with_floor(result, converted.operators, per_channel_dense=dense) for result in results]
    results = [families.with_tolerance(result, admitted, calm) for result in results]
    stored = {run.family: run.stored[chosen] for run in admitted if run.stored is not None}
    vectors = golden.golden_set(runtimes.to_stored(proof.x[chosen], converted.inputs[0]), stored)
    return Verified(shown, results, admitted, reference, encode_golden(vectors))
