"""What a conversion process is asked, and what it says, one JSON object a line.

The caller writes one request to the process's standard input and reads progress lines from its
standard output until a result or a failure.
"""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.manifest import HealthLimits
from wherry.protocol.types import Count, Name, Share, Struct

Recipe = Literal["int8", "dynamic"]


class ConversionRequest(Struct, frozen=True, kw_only=True):
    """Paths are absolute. `out_dir` must not exist; it appears whole or not at all.

    `labels` names the classes in the order of the model's output; empty, or one a class.
    `max_accuracy_loss` counts where the evaluation has labels, `min_agreement` where it has none.
    """

    source: str
    name: Name
    calibration: str
    evaluation: str | None = None
    out_dir: str
    recipe: Recipe = "int8"
    labels: tuple[str, ...] = ()
    health: HealthLimits = HealthLimits()
    max_accuracy_loss: Share = 0.01
    min_agreement: Share = 0.99


class Progress(Struct, frozen=True, kw_only=True, tag="progress", tag_field="type"):
    """`step` of `steps` has begun; `text` says which, for a person."""

    step: Count
    steps: Count
    text: str


class Converted(Struct, frozen=True, kw_only=True, tag="converted", tag_field="type"):
    """The package lies in `out_dir`: `<variant>.tflite`, `<variant>.golden`, `manifest.json`, `report.json`."""

    out_dir: str
    report: msgspec.Raw


class Failed(Struct, frozen=True, kw_only=True, tag="failed", tag_field="type"):
    """`kind` is the class of the error; `ours` says that it is a bug and not the user's to mend."""

    kind: str
    message: str
    fix: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    ours: bool = False


ConversionLine = Progress | Converted | Failed
