"""All that a conversion has found so far; a refusal is reported from it just as a success is."""

from collections.abc import Callable
from dataclasses import dataclass, field

from wherry.converters.data import SampleSet
from wherry.converters.data.checks import DataChecks
from wherry.converters.errors import BadRequest
from wherry.converters.model import End
from wherry.converters.origin import Built
from wherry.converters.report import (
    Confusion,
    FamilyResult,
    Join,
    LayerCost,
    LayerError,
    Parity,
    RemedyTried,
)
from wherry.converters.trial import Artifact, Trial
from wherry.converters.verify import golden
from wherry.protocol.conversion import ConversionRequest
from wherry.protocol.manifest import Preprocessing
from wherry.protocol.profile import Profile


@dataclass(frozen=True)
class Accepted:
    """A variant that goes into the package, with what its devices need."""

    trial: Trial
    results: list[FamilyResult]
    golden: bytes
    reference: Profile | None = None


@dataclass
class Findings:
    """`more` reads more of the calibration data. `refused` and `remarks` are by the name of a variant.

    `unwanted` variants were tried on the way to others, and are no part of the version.
    """

    request: ConversionRequest
    built: Built
    preprocessing: dict[str, Preprocessing]
    calibration: SampleSet
    evaluation: SampleSet | None
    more: Callable[[int], SampleSet]
    checks: DataChecks = field(default_factory=DataChecks)
    ranges: str = ""
    parity: tuple[Parity, ...] = ()
    float_artifact: Artifact | None = None
    float_results: list[FamilyResult] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    unwanted: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    accepted: list[Accepted] = field(default_factory=list)
    layers: dict[str, tuple[LayerError, ...]] = field(default_factory=dict)
    joins: tuple[Join, ...] = ()
    remedies: list[RemedyTried] = field(default_factory=list)
    costs: tuple[LayerCost, ...] = ()
    confusions: list[Confusion] = field(default_factory=list)

    @property
    def wanted(self) -> list[Trial]:
        """What can go into the version."""
        return [entry for entry in self.trials if entry.ok and entry.name not in self.unwanted]

    @property
    def proof(self) -> SampleSet:
        """What everything is verified on: candidates for golden vectors first. Labels count only from an evaluation."""
        samples = self.evaluation or self.calibration.without_labels()
        return samples.take(golden.order(len(samples)))

    @property
    def labelled(self) -> int:
        """Which output labels are for, by the recipe or the first. Raises BadRequest for a name that is none."""
        wanted = self.request.recipe.evaluation.output
        names = [end.name for end in self.built.model.outputs]
        if not wanted:
            return 0
        if wanted not in names:
            raise BadRequest(f"evaluation.output {wanted!r}: no such output", f"there are {', '.join(names)}")
        return names.index(wanted)

    @property
    def labelled_end(self) -> End:
        return self.built.model.outputs[self.labelled]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes: as given, or the folders' where those are all."""
        if self.request.labels:
            return self.request.labels
        samples = self.evaluation or self.calibration
        classes = self.labelled_end.shape[-1] if self.labelled_end.shape else 0
        return samples.class_names if len(samples.class_names) == classes else ()
