"""From the canonical float file to variants that were shown to be right, step by step.

Rules upheld here:
- Nothing is compared before parity of the float file with its source.
- Each variant is made once. One that breaks its budget is treated with remedies where these can help, or left out with
  the reason; with none left the conversion is refused.
- Golden vectors and tolerances are of the very files that go into the package.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from wherry.converters import feeding, origin, trial
from wherry.converters.errors import BadRequest, BudgetMissed, NoRuntime, UnsupportedModel
from wherry.converters.findings import Accepted, Findings
from wherry.converters.model import End, Framework
from wherry.converters.passes.table import (
    CALIBRATE,
    CHOOSE,
    LAYERS,
    VARIANT,
    LayerOptions,
    Nothing,
    RangeMethod,
    VariantOptions,
)
from wherry.converters.remedies import Basis, Infirmary
from wherry.converters.report import Confusion, Join
from wherry.converters.steps import Steps
from wherry.converters.trial import Bench, Trial
from wherry.converters.verify import budget, compare, families, golden, joins, parity, runtimes
from wherry.converters.verify.reference import reference_of
from wherry.converters.workshop import Workshop
from wherry.protocol import preparation
from wherry.protocol.golden import encode_golden
from wherry.protocol.recipe import REQUANTIZED, Remedy, VariantName

PARITY_SAMPLES = 64
LAYER_SAMPLES = 32
MAX_CONFUSION_CLASSES = 64

PARITY_FIX = "look for layers whose inference is random or depends on the batch"
_AXES = (
    "onnx2tf may have mistaken axes of equal length for one another: try --keep-layout, give the inputs lengths that"
    " differ, or export the model to a SavedModel"
)
PARITY_FIXES: dict[Framework, str] = {"onnx": _AXES, "pytorch": _AXES}

SLOW_16X8 = "16-bit activations have no XNNPACK kernels: expect 20 times the latency of int8"


class Verification:
    """Fills the findings. `asked` is the workshop in which the source's own framework runs."""

    def __init__(self, found: Findings, scratch: Path, shop: Workshop, asked: Workshop, steps: Steps) -> None:
        self._found = found
        self._scratch = scratch
        self._shop = shop
        self._asked = asked
        self._steps = steps
        self._model = found.built.model
        self._recipe = found.request.recipe
        self._proof = found.proof
        self._samples = feeding.for_file(self._proof, self._model)
        self._canonical: Basis | None = None
        self._healed: Basis | None = None
        self._reading = self._first = compare.SCORES

    def carry_out(self) -> None:
        """Raises Refused where no variant was shown to be right."""
        if self._model.quantized:
            self._take_as_it_is()
        else:
            bench = self._compare_float()
            for variant in self._recipe.variants:
                self._try(variant, bench)
            self._look_into_layers()
        self._time()
        self._require_one()
        with self._steps.step("choose golden vectors"):
            self._accept()

    def _take_as_it_is(self) -> None:
        """A file of integers has no float model: its families are held against each other."""
        if self._recipe.variants != ("int8",):
            raise BadRequest(
                "the source is quantized already, so no other variant can be made of it",
                "leave the variants out, or give the float model",
            )
        bench = self._bench([])
        with self._steps.step("run in every installed runtime", "as it is"):
            artifact = trial.look_into(self._found.built.file, self._model.layers)
            name = _variant_name(artifact)
            tried = trial.attempt(name, self._found.built.file, bench)
        self._found.trials.append(tried)
        self._found.remarks[name] = "quantized by others: compared between runtimes, not with a float model"
        if not tried.ok:
            self._found.refused[name] = families.said(tried.results)

    def _compare_float(self) -> Bench:
        """Parity, and the float model's outputs on all samples. Raises ParityLost, UnsupportedOperators."""
        found, file = self._found, self._found.built.file
        with self._steps.step("ask the source itself", found.built.origin.framework):
            some = self._proof.take(np.arange(min(PARITY_SAMPLES, len(self._proof))))
            saved = feeding.save_for_source(some, self._model, self._scratch / "parity.npz")
            answers = origin.predict(found.built, saved, self._asked)
            expected = feeding.source_outputs(answers, self._model)
        with self._steps.step("run the float model", ", ".join(runtimes.installed())):
            found.float_artifact = trial.look_into(file, self._model.layers)
            bench = self._bench([])
            with self._calibrating():
                runs = trial.run_in(trial.installed(), found.float_artifact.file(repeated=1), bench)
            found.float_results = [families.figures(run) for run in runs]
        reference = next((run for run in runs if not run.ran.error), None)
        if reference is None:
            raise NoRuntime(f"no runtime here runs the float TFLite: {families.said(found.float_results)}")
        found.parity = parity.measure([end.name for end in self._model.outputs], expected, reference.real)
        parity.require(found.parity, PARITY_FIXES.get(found.built.origin.framework, PARITY_FIX))
        bench = self._bench(reference.real)
        if said := budget.labels_unlike(budget.score(reference.real, reference.real, bench.stick)):
            self._steps.warn(said)
        self._count_confusion("float", reference.real)
        return bench

    def _bench(self, reference: runtimes.Reals) -> Bench:
        shapes = [_sample_shape(end) for end in self._model.outputs]
        labelled = self._found.labelled
        stick = budget.yardstick(
            self._recipe.budget,
            shapes,
            reference,
            self._recipe.evaluation.task,
            self._proof.labels,
            labelled,
            against_float=not self._model.quantized,
        )
        self._reading, self._first = stick.readings[labelled], stick.readings[0]
        return Bench(
            samples=self._samples,
            reference=reference,
            stick=stick,
            scratch=self._scratch,
            memory_bytes=self._recipe.limits.memory_mb << 20,
            layers=self._model.layers,
        )

    def _try(self, variant: VariantName, bench: Bench) -> None:
        """Make a variant and run it; treat it where it misses the budget and can be treated."""
        if variant == "mixed":
            return self._try_mixed(bench)
        try:
            with self._steps.step("compress", variant):
                file = self._make(variant)
        except UnsupportedModel as error:
            self._found.refused[variant] = f"{error.message}; {error.fix}"
            return None
        with self._steps.step("run in every installed runtime", variant):
            tried = trial.attempt(variant, file, bench)
        self._found.trials.append(tried)
        if variant == "int16x8":
            self._found.remarks[variant] = SLOW_16X8
        if not tried.holds and tried.worst is not None and variant in REQUANTIZED:
            self._treat(variant, tried, bench)
        elif not tried.ok:
            self._found.refused[variant] = families.said(tried.results)
        return None

    def _try_mixed(self, bench: Bench) -> None:
        """Asked for by name: layers stay in float only where int8 misses the budget."""
        found = self._found
        if any(entry.name == "mixed" for entry in found.trials):
            return
        tried = next((entry for entry in found.trials if entry.name == "int8"), None)
        if tried is None:
            with self._steps.step("compress", "mixed"):
                file = self._make("int8")
            with self._steps.step("run in every installed runtime", "mixed"):
                tried = trial.attempt("int8", file, bench)
            found.trials.append(tried)
            found.unwanted.add("int8")
        if tried.holds:
            found.refused["mixed"] = "int8 holds the budget, so no layer needs to stay in float"
        else:
            self._treat("int8", tried, bench, ("mixed",))

    def _treat(self, variant: VariantName, tried: Trial, bench: Bench, order: tuple[Remedy, ...] | None = None) -> None:
        """Try the recipe's remedies, or those of `order`; what comes of it takes the place of `tried`."""
        found = self._found
        with self._steps.step("look for remedies", variant):
            infirmary = Infirmary(
                self._shop,
                bench,
                self._recipe.remedies,
                layers=self._model.layers,
                more_samples=self._more_samples,
                say=self._steps.within,
            )
            outcome = infirmary.heal(variant, tried, self._calibrated(), order)
        found.remedies += outcome.tried
        found.costs = outcome.costs or found.costs
        healed = outcome.trial
        if healed is not tried:
            self._healed = outcome.basis
            kept = [] if healed.name == variant else [tried]
            found.trials = [entry for entry in found.trials if entry is not tried] + kept + [healed]
        if healed.name != variant:
            found.unwanted.add(variant)
            found.refused[variant] = families.said(tried.results)
        if not healed.ok:
            found.refused[healed.name] = families.said(healed.results)
        elif not healed.holds:
            found.remarks[healed.name] = "not every runtime keeps the budget; those that do not are left out"

    def _make(self, variant: VariantName) -> Path:
        if variant in REQUANTIZED or variant == "int16x8":
            basis = (variant in REQUANTIZED and self._healed) or self._calibrated()
            files = {"calibrated": basis.calibrated}
        else:
            files = {"float": self._found.built.file}
        return self._shop.run(VARIANT, files, VariantOptions(variant=variant)).file("artifact.tflite")

    @contextmanager
    def _calibrating(self) -> Iterator[None]:
        """Calibrate meanwhile, where a variant will ask for it: the passes are idle while runtimes work."""
        if not any(variant in (*REQUANTIZED, "int16x8") for variant in self._recipe.variants):
            yield
            return
        self._shop.start()  # by this thread: a child is killed when the thread that started it ends
        with ThreadPoolExecutor(1) as background:
            ready = background.submit(self._calibrated)
            try:
                yield
            except BaseException:
                self._shop.close()  # or the thread would wait for the end of the pass
                raise
            with suppress(UnsupportedModel):  # told of the variants that ask for it
                ready.result()

    def _calibrated(self) -> Basis:
        """The canonical file with the ranges of the calibration samples."""
        if self._canonical is not None:
            return self._canonical
        inputs = feeding.for_file(self._found.calibration, self._model)
        samples = feeding.save_for_file(inputs, self._model, self._scratch / "calibration.npz")
        files = {"float": self._found.built.file, "samples": samples}
        calibrated = self._shop.run(CALIBRATE, files, Nothing()).file("calibrated.tflite")
        ranges: RangeMethod = "minmax"
        if self._recipe.calibration.ranges == "auto" and any(name in REQUANTIZED for name in self._recipe.variants):
            chosen = self._shop.run(CHOOSE, files | {"calibrated": calibrated}, Nothing())
            ranges, calibrated = chosen.result.method, chosen.file("calibrated.tflite")
        self._found.ranges = ranges
        self._canonical = Basis(self._found.built.file, calibrated, samples, ranges)
        return self._canonical

    def _more_samples(self, wanted: int) -> Path | None:
        used = self._found.calibration
        if used.given <= len(used):
            return None
        more = self._found.more(wanted)
        return feeding.save_for_file(
            feeding.for_file(more, self._model), self._model, self._scratch / "more-calibration.npz"
        )

    def _look_into_layers(self) -> None:
        """Errors by layer of the variants with integer activations, and joins of unlike ranges."""
        found = self._found
        some = [x[:LAYER_SAMPLES] for x in self._samples]
        samples = feeding.save_for_file(some, self._model, self._scratch / "layers.npz")
        for entry in found.trials:
            if entry.name not in (*REQUANTIZED, "int16x8"):
                continue
            with self._steps.step("compare layer by layer", entry.name):
                files = {"float": found.built.file, "artifact": entry.artifact.path, "samples": samples}
                options = LayerOptions(layers=self._model.layers)
                found.layers[entry.name] = self._shop.run(LAYERS, files, options).result.errors
        errors = next(iter(found.layers.values()), ())
        ranges = {error.tensor: (error.float_low, error.float_high) for error in errors}
        if found.float_artifact is not None:
            uneven = joins.uneven(found.float_artifact.model, ranges, self._model.layers)
            found.joins = tuple(
                Join(
                    layer=self._model.layers.get(join.tensor, ""),
                    tensor=join.tensor,
                    ratio=round(join.ratio, 1),
                    message=join.sentence,
                )
                for join in uneven
            )
            for join in uneven:
                self._steps.warn(join.sentence)

    def _require_one(self) -> None:
        """Raises BudgetMissed or NoRuntime where no variant is left."""
        found = self._found
        if found.wanted:
            return
        said = "; ".join(f"{name}: {reason}" for name, reason in found.refused.items())
        if any(entry.worst is not None for entry in found.trials):
            hint = next((f"{entry.message}: {entry.fix}" for entry in found.checks.warnings if entry.strong), "")
            fix = hint or "calibrate with more, representative inputs, prepared as in training, or allow a larger loss"
            if self._reading.classes and self._proof.labels is None:
                fix += '; if the output is not one score a class, say task = "values" under [evaluation] in a recipe'
            raise BudgetMissed(f"no variant holds the budget: {said}", fix)
        raise NoRuntime(f"no runtime here runs the converted model: {said}", "try another variant")

    def _accept(self) -> None:
        for entry in self._found.wanted:
            self._found.accepted.append(self._with_golden(entry))
            self._count_confusion(entry.name, entry.admitted[0].real)

    def _time(self) -> None:
        """Latency, when nothing else runs: what was measured on the way had company."""
        found = self._found
        with self._steps.step("measure latency"):
            if found.float_artifact is not None:
                found.float_results = trial.timed(found.float_artifact, found.float_results, self._bench([]))
            for entry in found.trials:
                entry.results[:] = trial.timed(entry.artifact, entry.results, self._bench([]))

    def _with_golden(self, entry: Trial) -> Accepted:
        """Vectors, floors and tolerances of a variant."""
        admitted = entry.admitted
        spreads = families.candidate_spreads(admitted)
        chosen = families.fitting(golden.choose(spreads), admitted)
        calm = np.flatnonzero(spreads <= spreads[chosen].max())
        artifact = entry.artifact
        results = [
            families.with_floor(result, artifact.operators, per_channel_dense=artifact.per_channel_dense)
            for result in entry.results
        ]
        results = [families.with_tolerance(result, admitted, calm, len(chosen)) for result in results]
        inputs = [
            preparation.to_stored(x[chosen], spec) for x, spec in zip(self._samples, artifact.inputs, strict=True)
        ]
        outputs = {run.family: [stored[chosen] for stored in run.stored] for run in admitted}
        told = reference_of(admitted[0], self._first)
        return Accepted(entry, results, encode_golden(golden.golden_set(inputs, outputs)), told)

    def _count_confusion(self, who: str, outputs: runtimes.Reals) -> None:
        labels = self._proof.labels
        scores = outputs[self._found.labelled]
        if labels is None or scores.shape[-1] > MAX_CONFUSION_CLASSES:
            return
        counts = compare.confusion(scores, labels[: len(scores)], self._reading)
        self._found.confusions.append(Confusion(who=who, counts=tuple(tuple(int(n) for n in row) for row in counts)))


def _sample_shape(end: End) -> tuple[int, ...]:
    """Of an output in the file's layout, as runs give it: without a batch of 1."""
    shape = feeding.file_shape(end)
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def _variant_name(artifact: trial.Artifact) -> str:
    """What others have made, in our words."""
    first = artifact.inputs[0].dtype
    if first in ("int8", "uint8"):
        return "int8" if first == "int8" else "uint8"
    kinds = {operator.name for operator in artifact.operators}
    return "int8-float-io" if "QUANTIZE" in kinds else "as-is"
