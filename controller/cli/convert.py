"""`wherry convert`: a trained model to a checked, quantized package, in a process of its own."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from wherry.controller.cli.options import DEFAULT_URL, Json, Url, checked
from wherry.controller.errors import Invalid
from wherry.protocol.conversion import ConversionRequest, Progress, Warned
from wherry.protocol.types import is_name


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="The trained model: .keras, .h5, a SavedModel directory, .onnx, .pt2, TorchScript .pt, .tflite,"
            " or package.module:factory of a PyTorch module."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the model, as in digits.")],
    calibration: Annotated[
        str,
        typer.Option(
            help="Real inputs to calibrate with: .npz with `x` or an array an input, .npy, a folder of pictures"
            " by class, or package.module:callable."
        ),
    ],
    evaluation: Annotated[
        str | None, typer.Option(help="Held-out inputs in the same forms, with labels `y` where there are any.")
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Variants, as in int8,float16 (int8, int8-float-io, float16, dynamic, weight-only-int8, int16x8,"
            " mixed), or a recipe in a .toml file."
        ),
    ] = "int8",
    out: Annotated[
        Path | None, typer.Option(help="Directory to make; without it NAME-package, or the first free NAME-package-2 …")
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]1,H,W,C", help="Whole shape of an input whose lengths the model leaves open."),
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME:]HOW",
            help="From raw values to the model's: unit, signed, imagenet, or scale=1/255,mean=…,std=…,color=rgb.",
        ),
    ] = None,
    layout: Annotated[
        Literal["nhwc", "nchw"] | None, typer.Option(help="What the pictures of the data have, if not the model's own.")
    ] = None,
    keep_layout: Annotated[
        bool,
        typer.Option("--keep-layout", help="Leave channels-first inputs as they are, instead of turning them to NHWC."),
    ] = False,
    signature: Annotated[str, typer.Option(help="Of a SavedModel that has several.")] = "",
    weights: Annotated[Path | None, typer.Option(help="State dict for package.module:factory.")] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Let the model's file run the code that is stored in it.")
    ] = False,
    health: Annotated[Path | None, typer.Option(help="TOML file of health limits for the probation.")] = None,
    probation_s: Annotated[
        float | None, typer.Option(help="Seconds that devices watch the version; 60 without it.")
    ] = None,
    min_inferences: Annotated[
        int | None, typer.Option(help="Inferences that the probation needs; 200 without it.")
    ] = None,
    p95_ms: Annotated[
        float | None, typer.Option(help="Highest p95 latency on probation, in ms; no limit without it.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file: a class a line, in the order of the output.")] = None,
    max_accuracy_loss: Annotated[
        float | None, typer.Option(help="Most accuracy that may be lost; 0.01 without it.")
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(help="Least agreement with the float model, without labels; 0.99 without it.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Keep what was worked out, so that the next run repeats less.")
    ] = True,
    add: Annotated[bool, typer.Option("--add", help="Register the result with the controller at once.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Convert a trained model to TFLite, quantize it, and show that it is still right.

    Example: wherry convert digits.keras --name digits --calibration train.npz --evaluation test.npz --add

    Example: wherry convert net.onnx --name cats --calibration pictures/ --preprocess imagenet --recipe int8,float16
    """
    from wherry.controller.cli import conversion, conversion_result, recipes
    from wherry.controller.cli.api import Api

    if not is_name(name):
        raise Invalid(f"not a name of a model: {name!r}", "use lower case letters, digits, dots and hyphens")
    api = Api(url) if add else None
    if api is not None:
        api.get("status")  # a conversion takes a minute; better to know now
    limits = {"probation_s": probation_s, "min_inferences": min_inferences, "p95_ms": p95_ms}
    budget = {"max_accuracy_loss": max_accuracy_loss, "min_agreement": min_agreement}
    overrides: dict[str, dict[str, Any]] = {
        "": {"layout": "keep" if keep_layout else None},
        "health": limits,
        "budget": budget,
    }
    fields: dict[str, Any] = {
        "source": _absolute(source),
        "name": name,
        "calibration": _absolute(calibration),
        "evaluation": None if evaluation is None else _absolute(evaluation),
        "out_dir": str((out or _free(f"{name}-package")).absolute()),
        "recipe": recipes.read(recipe, overrides, health),
        "labels": _labels(labels),
        "input_shapes": dict(_shape(text) for text in input_shape or ()),
        "preprocess": preprocess or [],
        "data_layout": layout or "",
        "signature": signature,
        "weights": "" if weights is None else str(weights.absolute()),
        "trust_pickle": trust_pickle,
        "cache_dir": str(_cache_dir()) if cache else "",
    }
    with _progress() as on_line:
        done = conversion.convert(checked(fields, ConversionRequest, "wherry convert"), on_line)
    conversion_result.tell(done.out_dir, done.report, api, as_json=json)


def _absolute(text: str) -> str:
    """A path as absolute, and `package.module:name` as it is."""
    path = Path(text)
    return text if ":" in text and not path.exists() else str(path.absolute())


def _shape(text: str) -> tuple[str, list[int]]:
    """`NAME=1,224,224,3` or `1,224,224,3` for the only input."""
    input_name, _, lengths = text.rpartition("=")
    try:
        return input_name, [int(length) for length in lengths.replace("x", ",").split(",")]
    except ValueError as error:
        raise Invalid(f"not a shape: {text!r}", "write it as in image=1,224,224,3") from error


def _cache_dir() -> Path:
    """Where the XDG specification has caches."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "wherry" / "conversions"


def _free(name: str) -> Path:
    """`name`, or the first of name-2, name-3 … that does not exist."""
    candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(path for path in map(Path, candidates) if not path.exists())


def _labels(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return file.read_text().splitlines()
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}", "name a text file with a class a line") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file} is not text", "name a text file with a class a line") from error


@contextmanager
def _progress() -> Iterator[Callable[[Progress | Warned], None]]:
    """Bars on a terminal, plain lines elsewhere, always on standard error; warnings stay on the screen."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        yield _plain_lines
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        whole = bar.add_task("starting", total=None)
        inner = bar.add_task("", total=1, visible=False)

        def show(line: Progress | Warned) -> None:
            if isinstance(line, Warned):
                bar.console.print(_warning(line), style="yellow", markup=False, highlight=False)
                return
            bar.update(whole, description=line.text, completed=max(line.step - 1, 0), total=line.steps)
            bar.update(inner, completed=line.done, total=line.total or 1, visible=bool(line.total))

        yield show


def _plain_lines(line: Progress | Warned) -> None:
    if isinstance(line, Warned):
        typer.echo(_warning(line), err=True)
    elif not line.done:
        typer.echo(f"[{line.step}/{line.steps}] {line.text}", err=True)


def _warning(line: Warned) -> str:
    return f"warning: {line.message}" + (f" – {line.fix}" if line.fix else "")
