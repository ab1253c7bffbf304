"""What a conversion process is asked, and what it says, one JSON object a line.

The caller writes one request to the process's standard input and reads progress lines from its
standard output until a result or a failure.
"""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.recipe import Recipe
from wherry.protocol.types import Count, Name, Struct


class ConversionRequest(Struct, frozen=True, kw_only=True):
    """Paths are absolute. `out_dir` must not exist; it appears whole or not at all.

    `source` is the path of a model, or `package.module:factory` that returns a PyTorch module. `calibration` and
    `evaluation` are paths, or `package.module:callable`. `labels` names the classes in the order of the
    model's output; empty, or one a class.

    `input_shapes`: by input name, whole, with the batch; the name "" stands for the only input.
    `preprocess` is the text of `--preprocess`; `data_layout` what the pictures of the data have where it is not the
    source's. `trust_pickle` lets files run the code that is stored in them. `cache_dir` keeps what
    was worked out for the next run.
    """

    source: str
    name: Name
    calibration: str
    evaluation: str | None = None
    out_dir: str
    recipe: Recipe = Recipe()
    labels: tuple[str, ...] = ()
    input_shapes: dict[str, Annotated[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(max_length=8)]] = {}
    signature: str = ""
    weights: str = ""
    preprocess: tuple[str, ...] = ()
    data_layout: Literal["", "nhwc", "nchw"] = ""
    trust_pickle: bool = False
    cache_dir: str = ""


class Progress(Struct, frozen=True, kw_only=True, tag="progress", tag_field="type"):
    """`step` of `steps` has begun; `text` says which, for a person. `done` of `total` tells how far within it."""

    step: Count
    steps: Count
    text: str
    done: Count = 0
    total: Count = 0


class Warned(Struct, frozen=True, kw_only=True, tag="warned", tag_field="type"):
    """Something that the user should know before hours are lost; the conversion goes on."""

    message: str
    fix: Annotated[str, msgspec.Meta(max_length=2000)] = ""


class Converted(Struct, frozen=True, kw_only=True, tag="converted", tag_field="type"):
    """The package lies in `out_dir`: a `.tflite` and a `.golden` a variant, `manifest.json`, `report.json`, `.html`."""

    out_dir: str
    report: msgspec.Raw


class Failed(Struct, frozen=True, kw_only=True, tag="failed", tag_field="type"):
    """`kind` is the class of the error; `ours` says that it is a bug and not the user's to mend.

    `report_dir` holds `report.json` and `report.html` of a conversion that was carried out and refused.
    """

    kind: str
    message: str
    fix: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    ours: bool = False
    report_dir: str = ""


ConversionLine = Progress | Warned | Converted | Failed
