"""The recipe of a conversion: what is to be made, from how much data, and what it may cost.

A recipe is a TOML file whose tables are these structs; docs/reference/recipes.md is the same in words.
Unknown names are refused, because a misspelled limit is no limit.
"""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.manifest import HealthLimits
from wherry.protocol.types import Count, Share

VariantName = Literal["int8", "int8-float-io", "float16", "dynamic", "weight-only-int8", "int16x8", "mixed"]

VARIANTS: tuple[VariantName, ...] = (
    "int8", "int8-float-io", "float16", "dynamic", "weight-only-int8", "int16x8", "mixed",
)  # fmt: skip

REQUANTIZED: tuple[VariantName, ...] = ("int8", "int8-float-io", "mixed")
"""The variants whose ranges come from calibration in 8 bits, and which remedies can help."""

Remedy = Literal["more-calibration", "percentile", "mse", "equalize", "bias", "mixed"]


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A table of a file that a person writes."""


class Budget(Table, frozen=True, kw_only=True):
    """What a variant may lose against the float model.

    `max_accuracy_loss`, where there are labels: the difference of the shares that are right. `min_agreement`,
    where there are none: the share of samples with the same top class or, for outputs that are not one
    score a class, the share of the variance that is reproduced.
    """

    max_accuracy_loss: Share = 0.01
    min_agreement: Share = 0.99


class CalibrationUse(Table, frozen=True, kw_only=True):
    """`samples` are taken from the data, evenly spread; ranges settle after some dozens.

    `ranges` of activations in 8 bits: `minmax` are those seen, `auto` also tries narrower ones and takes whichever
    bring the outputs nearest to float on the calibration data.
    """

    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 256
    ranges: Literal["auto", "minmax"] = "auto"


class EvaluationUse(Table, frozen=True, kw_only=True):
    """`task`: `classes` compares the top class, `values` the numbers; `auto` sees it by the output's shape.

    `output` names the output that labels are for; the first without it.
    """

    samples: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    task: Literal["auto", "classes", "values"] = "auto"
    output: str = ""


class Remedies(Table, frozen=True, kw_only=True):
    """Tried in this order, the cheapest first, until the budget holds; an empty list tries none."""

    order: tuple[Remedy, ...] = ("more-calibration", "percentile", "mse", "equalize", "bias", "mixed")
    more_samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000
    max_float_share: Share = 0.8


class Limits(Table, frozen=True, kw_only=True):
    """For each process of a conversion. `memory_mb` 0 allows what the machine has."""

    memory_mb: Count = 0
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 1800.0


class Recipe(Table, frozen=True, kw_only=True):
    """The whole file. `layout` `keep` leaves channels-first inputs as the source has them."""

    variants: Annotated[tuple[VariantName, ...], msgspec.Meta(min_length=1, max_length=7)] = ("int8",)
    layout: Literal["nhwc", "keep"] = "nhwc"
    budget: Budget = Budget()
    calibration: CalibrationUse = CalibrationUse()
    evaluation: EvaluationUse = EvaluationUse()
    remedies: Remedies = Remedies()
    limits: Limits = Limits()
    health: HealthLimits = HealthLimits()

    def __post_init__(self) -> None:
        """Raises ValueError, on decoding ValidationError, for a variant named twice."""
        if len(set(self.variants)) != len(self.variants):
            raise ValueError("each variant can be named once")
