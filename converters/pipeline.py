"""One conversion from request to package: source, float TFLite, compress, verify, package.

A conversion that cannot be shown to be right does not produce a package: what was found then lies in
`<out_dir>.refused`. TensorFlow and the frameworks live in child processes; nothing heavy is imported here.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from wherry.converters import feeding, origin, package, reporting
from wherry.converters.cache import Cache
from wherry.converters.data import SampleSet, check_labels, check_variation, load
from wherry.converters.data.checks import check_data
from wherry.converters.data.preprocessing import for_inputs, parse_preprocess
from wherry.converters.errors import BadRequest, Refused
from wherry.converters.findings import Findings
from wherry.converters.origin import Built
from wherry.converters.report import Report
from wherry.converters.steps import Steps
from wherry.converters.verification import Verification
from wherry.converters.verify import compare
from wherry.converters.workshop import Workshop
from wherry.protocol.conversion import ConversionRequest, Progress, Warned
from wherry.protocol.recipe import REQUANTIZED

Say = Callable[[Progress | Warned], None]


def convert(request: ConversionRequest, say: Say) -> Report:
    """Carry out the request; the package lies in `out_dir` on return.

    Raises ConversionError. A Refused that came after the data was read leaves its report in `<out_dir>.refused`.
    """
    out_dir = Path(request.out_dir)
    package.check_free(out_dir)
    source = origin.recognise(request)
    limits = request.recipe.limits
    compared = sum(variant in (*REQUANTIZED, "int16x8") for variant in request.recipe.variants)
    steps = Steps(say, expected=7 + 2 * len(request.recipe.variants) + compared)
    with ExitStack() as stack:
        stage = stack.enter_context(package.staging(out_dir))
        cache = stack.enter_context(Cache(Path(request.cache_dir) if request.cache_dir else None).opened())
        shop, torch_shop = (
            stack.enter_context(
                Workshop(stage.scratch, cache, memory_bytes=limits.memory_mb << 20, timeout_s=limits.timeout_s)
            )
            for _ in range(2)
        )
        with steps.step("bring the model to float TFLite", source.framework):
            built = origin.build(source, shop, torch_shop)
        with steps.step("read the data"):
            found = _read(request, built)
        for warning in found.checks.warnings:
            say(Warned(message=warning.message, fix=warning.fix))
        asked = torch_shop if source.framework == "pytorch" else shop
        try:
            Verification(found, stage.scratch, shop, asked, steps).carry_out()
        except Refused as error:
            error.report_dir = _leave_refusal(stage, found, error, steps, shop)
            raise
        with steps.step("write the package"):
            report = reporting.report(found, steps.took_s, shop.cached)
            for name, content in reporting.files(found, report).items():
                stage.write(name, content)
            stage.publish()
    return report


def _leave_refusal(stage: package.Staging, found: Findings, error: Refused, steps: Steps, shop: Workshop) -> str:
    """Put the report of a refused conversion beside the place of its package."""
    report = reporting.report(found, steps.took_s, shop.cached, refused=error.message)
    return str(package.leave(stage, reporting.report_files(report)))


def _read(request: ConversionRequest, built: Built) -> Findings:
    """The data, held against the model and looked through for faults. Raises DataError."""
    ends, recipe = built.model.inputs, request.recipe
    preprocessing = for_inputs(parse_preprocess(request.preprocess), ends)
    layout = request.data_layout or None

    def read(where: str, limit: int, *, balanced: bool) -> SampleSet:
        samples = load(
            where, ends, preprocessing, layout=layout, limit=limit, balanced=balanced, class_names=request.labels
        )
        check_variation(samples)
        return samples

    calibration = read(request.calibration, recipe.calibration.samples, balanced=False)
    evaluation = None
    if request.evaluation is not None:
        evaluation = read(request.evaluation, recipe.evaluation.samples, balanced=False)
    found = Findings(
        request=request,
        built=built,
        preprocessing=preprocessing,
        calibration=calibration,
        evaluation=evaluation,
        more=lambda limit: read(request.calibration, limit, balanced=True),
    )
    _check_classes(found)
    found.checks = check_data(calibration, evaluation, ends)
    return found


def _is_binary(samples: SampleSet) -> bool:
    return samples.labels is None or set(np.unique(samples.labels)) <= {0, 1}


def _check_classes(found: Findings) -> None:
    """Labels must be classes of the output that they belong to. Raises DataError and BadRequest."""
    end = found.labelled_end
    shape = feeding.file_shape(end)
    shape = shape[1:] if end.batched else shape
    values = found.request.recipe.evaluation.task == "values"
    classes = shape[0] if compare.is_scores(shape) and not values else None
    sets = [samples for samples in (found.calibration, found.evaluation) if samples is not None]
    if shape == (1,) and all(_is_binary(samples) for samples in sets):
        classes = 2  # one score for the second of two classes
    for samples in sets:
        check_labels(samples, classes)
    given = len(found.request.labels)
    if given and given != classes:
        raise BadRequest(
            f"{given} labels for a model with {classes or 'no'} classes",
            "give one label a class, in the order of the model's output",
        )
