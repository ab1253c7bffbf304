"""`wherry convert`: a trained model to a checked, quantized package, in a process of its own."""

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from wherry.controller.cli.options import DEFAULT_URL, Json, Url, checked
from wherry.controller.errors import Invalid
from wherry.protocol.conversion import ConversionRequest, Progress, Recipe
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.types import is_name


def convert(
    source: Annotated[Path, typer.Argument(help="The trained model: .keras or .h5.")],
    name: Annotated[str, typer.Option(help="Name of the model, as in digits.")],
    calibration: Annotated[Path, typer.Option(help="Real inputs to calibrate with: a .npz with `x`.")],
    evaluation: Annotated[Path | None, typer.Option(help="Labelled inputs: a .npz with `x` and `y`.")] = None,
    recipe: Annotated[Recipe, typer.Option(help="int8: everything in integers. dynamic: weights only.")] = "int8",
    out: Annotated[
        Path | None, typer.Option(help="Directory to make; without it NAME-package, or the first free NAME-package-2 …")
    ] = None,
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
    max_accuracy_loss: Annotated[float, typer.Option(help="Most accuracy that may be lost, as in 0.01.")] = 0.01,
    min_agreement: Annotated[float, typer.Option(help="Least share of equal top classes with the float model.")] = 0.99,
    add: Annotated[bool, typer.Option("--add", help="Register the result with the controller at once.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Convert a trained model to TFLite, quantize it, and show that it is still right.

    Example: wherry convert digits.keras --name digits --calibration train.npz --evaluation test.npz --add
    """
    from wherry.controller.cli import conversion
    from wherry.controller.cli.api import Api

    if not is_name(name):
        raise Invalid(f"not a name of a model: {name!r}", "use lower case letters, digits, dots and hyphens")
    api = Api(url) if add else None
    if api is not None:
        api.get("status")  # a conversion takes a minute; better to know now
    flags = {"probation_s": probation_s, "min_inferences": min_inferences, "p95_ms": p95_ms}
    fields: dict[str, Any] = {
        "source": str(source.absolute()),
        "name": name,
        "calibration": str(calibration.absolute()),
        "evaluation": str(evaluation.absolute()) if evaluation is not None else None,
        "out_dir": str((out or _free(f"{name}-package")).absolute()),
        "recipe": recipe,
        "labels": _labels(labels),
        "health": _health(health, flags),
        "max_accuracy_loss": max_accuracy_loss,
        "min_agreement": min_agreement,
    }
    with _progress() as on_progress:
        done = conversion.convert(checked(fields, ConversionRequest, "wherry convert"), on_progress)
    _tell(done.out_dir, done.report, api, as_json=json)


def _tell(out_dir: str, report: msgspec.Raw, api: Any, *, as_json: bool) -> None:
    from wherry.controller.cli import show
    from wherry.controller.cli.packages import add_package

    version = add_package(api, Path(out_dir)) if api is not None else None
    if as_json:
        show.as_json({"out_dir": out_dir, "report": report, "version": version})
        return
    found = msgspec.json.decode(report)
    columns = ("runtime", "runs from", "agreement", "accuracy", "float", "p50 ms", "remark")
    show.table(columns, [_family(run) for run in found["runtimes"]], empty="no runtime was tried")
    typer.echo(f"package: {out_dir} ({show.size(found['sizes']['artifact_bytes'])})")
    if version is None:
        typer.echo(f"register it with: wherry models add {out_dir}")
    else:
        typer.echo(f"registered as {version['name']}; roll it out with: wherry rollout start {version['name']}")


def _family(run: dict[str, Any]) -> tuple[object, ...]:
    """One runtime as a row; a family that was left out has its reason and no figures."""
    from wherry.controller.cli import show

    scores = run.get("scores") or {}
    floor = (run.get("floor") or {}).get("lowest", "–") if run["ok"] else "–"
    accuracy, before = show.percent(scores.get("accuracy")), show.percent(scores.get("float_accuracy"))
    p50_ms = show.number(run.get("p50_ms"), 2)
    remark = "" if run["ok"] else f"left out: {run['reason']}"
    return (
        f"{run['family']} {run['version']}",
        floor,
        show.percent(scores.get("agreement")),
        accuracy,
        before,
        p50_ms,
        remark,
    )


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


def _health(file: Path | None, flags: dict[str, float | int | None]) -> HealthLimits:
    """The limits of the file, with those that were given as options over them."""
    import tomllib

    fields: dict[str, Any] = {}
    if file is not None:
        try:
            fields = tomllib.loads(file.read_text())
        except OSError as error:
            raise Invalid(f"{file}: {error.strerror}", "name a TOML file of health limits") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{file} is not TOML: {error}", "correct it") from error
    unknown = fields.keys() - set(HealthLimits.__struct_fields__)
    if unknown:
        raise Invalid(
            f"{file}: no such limit: {', '.join(sorted(unknown))}",
            f"there are {', '.join(HealthLimits.__struct_fields__)}",
        )
    given = {name: value for name, value in flags.items() if value is not None}
    return checked(fields | given, HealthLimits, "wherry convert")


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, plain lines elsewhere, always on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        yield lambda line: typer.echo(f"[{line.step}/{line.steps}] {line.text}", err=True)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda line: bar.update(task, description=line.text, completed=max(line.step - 1, 0), total=line.steps)
