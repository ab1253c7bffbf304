"""What is tried when 8 bits miss the budget, the cheapest first, until it holds.

Rules upheld here:
- Each remedy is reported with what it gained, also the one that made things worse.
- What helps stays, and the next remedy builds on it; what does not is dropped. What helps is told by the outputs'
  distance from float, since shares of some hundred samples are too coarse to compare.
- Remedies are compared in the first runtime, and what holds the budget there, or is the best, is then tried in all.
- Layers are kept in float by measured sensitivity, as few as hold the budget, and never more than the recipe allows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.converters.passes.table import (
    BIAS,
    CALIBRATE,
    EQUALIZE,
    RANGES,
    RANK,
    VARIANT,
    Equalized,
    Nothing,
    RangeMethod,
    RangeOptions,
    RankOptions,
    VariantOptions,
)
from wherry.converters.report import LayerCost, RemedyTried
from wherry.converters.trial import Bench, Trial, attempt
from wherry.converters.workshop import Made, Say, Workshop
from wherry.protocol.recipe import Remedies, Remedy, VariantName


@dataclass(frozen=True)
class Basis:
    """What 8-bit variants are made of: a float file of the same function, its ranges, and the samples of these.

    `ranges` says how they were narrowed; it is done again whenever the file is calibrated anew.
    """

    float_file: Path
    calibrated: Path
    samples: Path
    ranges: RangeMethod = "minmax"


@dataclass(frozen=True)
class Outcome:
    """The best that came about; `basis` serves the other 8-bit variants too."""

    trial: Trial
    basis: Basis
    tried: list[RemedyTried]
    costs: tuple[LayerCost, ...]


class Infirmary:
    """Tries remedies for one variant. `more_samples` gives an archive with more of the data, or None."""

    def __init__(
        self,
        shop: Workshop,
        bench: Bench,
        remedies: Remedies,
        *,
        layers: dict[str, str],
        more_samples: Callable[[int], Path | None],
        say: Say,
    ) -> None:
        self._shop = shop
        self._bench = bench
        self._remedies = remedies
        self._layers = layers
        self._more_samples = more_samples
        self._say = say
        self._tried: list[RemedyTried] = []
        self._costs: tuple[LayerCost, ...] = ()

    def heal(
        self, variant: VariantName, first: Trial, basis: Basis, order: tuple[Remedy, ...] | None = None
    ) -> Outcome:
        """Try the remedies in the order of the recipe, or in `order`; stops as soon as the budget holds."""
        best = first
        self._note("none", "as calibrated", first, time.monotonic())
        for remedy in self._remedies.order if order is None else order:
            if best.holds:
                break
            if remedy == "mixed":
                best = self._keep_layers(best, basis)
                continue
            started = time.monotonic()
            changed, detail = self._change(remedy, basis)
            if changed is None:
                self._note(remedy, detail, None, started)
                continue
            trial = self._attempt(variant, self.make(variant, changed))
            better = trial.holds or _better(trial, best)
            self._note(remedy, detail if better else f"{detail}; dropped, for it does not help", trial, started)
            if better:
                best, basis = trial, changed
        if best is not first and len(best.runs) < len(first.runs):
            best = attempt(best.name, best.artifact.path, self._bench)
        return Outcome(best, basis, self._tried, self._costs)

    def make(self, variant: VariantName, basis: Basis, keep: tuple[str, ...] = ()) -> Path:
        """The variant's file, of a basis."""
        files = {"calibrated": basis.calibrated}
        return self._shop.run(VARIANT, files, VariantOptions(variant=variant, keep=keep)).file("artifact.tflite")

    def _attempt(self, name: str, file: Path) -> Trial:
        """In the first runtime, and in all if it holds the budget there."""
        quick = attempt(name, file, self._bench, quick=True)
        return attempt(name, file, self._bench) if quick.holds else quick

    def _change(self, remedy: Remedy, basis: Basis) -> tuple[Basis | None, str]:
        """Another basis, or None and why there is none."""
        if remedy == "more-calibration":
            samples = self._more_samples(self._remedies.more_samples)
            if samples is None:
                return None, "every sample of the calibration data was used already"
            return self._calibrated(replace(basis, samples=samples)), "more samples, spread evenly over the classes"
        if remedy in ("percentile", "mse"):
            method: RangeMethod = "percentile" if remedy == "percentile" else "mse"
            if basis.ranges == method:
                return None, "the ranges are those already"
            changed, places = self._narrowed(self._recorded(basis), method)
            return (changed, f"{places} ranges narrowed") if places else (None, "no range would become narrower")
        made = self._changed_float(remedy, basis)
        if not made.result.places:
            return None, "the graph has no place for it"
        floated = replace(basis, float_file=made.file("float.tflite"))
        return self._calibrated(floated), f"{made.result.places} layers changed"

    def _changed_float(self, remedy: Remedy, basis: Basis) -> Made[Equalized]:
        if remedy == "equalize":
            return self._shop.run(EQUALIZE, {"float": basis.float_file}, Nothing())
        return self._shop.run(BIAS, {"float": basis.float_file, "samples": basis.samples}, Nothing())

    def _calibrated(self, basis: Basis) -> Basis:
        """Calibrated anew, with ranges narrowed as they were."""
        recorded = self._recorded(basis)
        return recorded if basis.ranges == "minmax" else self._narrowed(recorded, basis.ranges)[0]

    def _recorded(self, basis: Basis) -> Basis:
        made = self._shop.run(CALIBRATE, {"float": basis.float_file, "samples": basis.samples}, Nothing())
        return replace(basis, calibrated=made.file("calibrated.tflite"), ranges="minmax")

    def _narrowed(self, basis: Basis, method: RangeMethod) -> tuple[Basis, int]:
        """With narrower ranges, and how many became so."""
        assert method != "minmax"
        files = {"float": basis.float_file, "calibrated": basis.calibrated, "samples": basis.samples}
        made = self._shop.run(RANGES, files, RangeOptions(method=method))
        return replace(basis, calibrated=made.file("calibrated.tflite"), ranges=method), made.result.places

    def _keep_layers(self, best: Trial, basis: Basis) -> Trial:
        """As few of the most costly layers in float as hold the budget, found by halving."""
        started = time.monotonic()
        files = {"float": basis.float_file, "calibrated": basis.calibrated, "samples": basis.samples}
        ranking = self._shop.run(RANK, files, RankOptions(layers=self._layers), say=self._say)
        self._costs = ranking.result.costs
        tensors = [cost.tensor for cost in self._costs]
        most = int(len(tensors) * self._remedies.max_float_share)
        if not most:
            self._note("mixed", "the recipe lets no layer stay in float", None, started)
            return best
        held = self._holding(tensors, most, basis)
        kept = tensors[: held[0]]
        detail = f"{held[0]} of {len(tensors)} layers kept in float"
        self._note("mixed", detail, held[1], started, kept)
        return held[1] if held[1].holds or _better(held[1], best) else best

    def _holding(self, tensors: list[str], most: int, basis: Basis) -> tuple[int, Trial]:
        """The smallest number of kept layers that holds the budget, and its trial; the largest where none does."""
        low, found = 0, (most, self._mixed(tensors[:most], basis))
        if not found[1].holds:
            return found
        while found[0] - low > 1:
            middle = (low + found[0]) // 2
            trial = self._mixed(tensors[:middle], basis)
            if trial.holds:
                found = (middle, trial)
            else:
                low = middle
        return found

    def _mixed(self, keep: list[str], basis: Basis) -> Trial:
        return self._attempt("mixed", self.make("mixed", basis, tuple(sorted(keep))))

    def _note(
        self, remedy: str, detail: str, trial: Trial | None, started: float, kept: list[str] | None = None
    ) -> None:
        self._tried.append(
            RemedyTried(
                remedy=remedy,
                detail=detail,
                held=trial is not None and trial.holds,
                took_s=round(time.monotonic() - started, 2),
                scores=None if trial is None else trial.worst,
                kept_float=tuple(self._layers.get(tensor) or tensor for tensor in kept or ()),
            )
        )


def _better(trial: Trial, than: Trial) -> bool:
    """Whether it is nearer to float in the first family. A file that does not run is never better."""
    ours, theirs = trial.results[0].scores, than.results[0].scores
    if ours is None:
        return False
    return theirs is None or ours.snr_db > theirs.snr_db
