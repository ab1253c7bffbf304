"""`wherry models`: what there is to roll out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url

app = typer.Typer(help="Models and their numbered versions.")


@app.callback(invoke_without_command=True)
def models(context: typer.Context, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Models and their numbered versions; lists them without a command."""
    if context.invoked_subcommand is None:
        list_models(json=json, url=url)


@app.command("list")
def list_models(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the models."""
    from wherry.controller.cli.api import Api

    found = Api(url).get("models")
    if json:
        show.as_json(found)
        return
    rows = [(model["name"], ", ".join(map(str, model["versions"])), show.age(model["created_s"])) for model in found]
    show.table(("model", "versions", "age"), rows, empty="no models yet: make one with `wherry convert … --add`")


@app.command("show")
def show_version(
    version: Annotated[str, typer.Argument(help="digits:3, or digits for the newest.")],
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a version: variants, runtimes, health limits.

    Example: wherry models show digits:2
    """
    from wherry.controller.cli.api import Api
    from wherry.controller.cli.packages import report_url

    api = Api(url)
    found = api.get(path_of(version))
    page = report_url(api, found)
    if json:
        show.as_json(found | {"report_url": page})
        return
    typer.echo(f"{found['name']}, registered {show.age(found['created_s'])} ago by {found['created_by']}")
    rows = [_variant(variant) for variant in found["manifest"]["variants"]]
    show.table(("variant", "size", "input", "runs on", "artifact"), rows, empty="no variants")
    if page is not None:
        typer.echo(f"report: {page}")


@app.command("add")
def add(
    directory: Annotated[Path, typer.Argument(help="What `wherry convert` has made.")],
    notes: Annotated[str, typer.Option(help="A remark kept with the version.")] = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Register a converted package as the next version of its model. The same package again changes nothing.

    Example: wherry models add digits-package
    """
    from wherry.controller.cli.api import Api
    from wherry.controller.cli.packages import add_package

    found = add_package(Api(url), directory, notes)
    if json:
        show.as_json(found)
    else:
        typer.echo(f"{'registered as' if found['created'] else 'already registered as'} {found['name']}")
        if found["report_url"] is not None:
            typer.echo(f"report: {found['report_url']}")


def path_of(version: str) -> str:
    from wherry.controller.core.version_name import parse_version

    model, number = parse_version(version)
    return f"models/{model}" if number is None else f"models/{model}/versions/{number}"


def _variant(variant: dict[str, Any]) -> tuple[str, ...]:
    shape = "×".join(map(str, variant["inputs"][0]["shape"])) + " " + variant["inputs"][0]["dtype"]
    runtimes = ", ".join(f"{floor['family']} ≥ {floor['lowest']}" for floor in variant["runtimes"])
    artifact = variant["artifact"]
    return variant["name"], show.size(artifact["size_bytes"]), shape, runtimes, artifact["digest"][:12]
