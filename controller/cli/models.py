"""`wherry models`: what there is to roll out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url, Yes, confirm
from wherry.controller.errors import Invalid

app = typer.Typer(help="Models and their numbered versions.")

Version = Annotated[str, typer.Argument(help="digits:3, digits@stable, or digits for the newest.")]


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
    rows = [(model["name"], _versions(model), _aliases(model), show.age(model["created_s"])) for model in found]
    columns = ("model", "versions", "aliases", "age")
    show.table(columns, rows, empty="no models yet: make one with `wherry convert … --add`")


@app.command("show")
def show_version(
    version: Version,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a version: variants, runtimes, aliases, notes.

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
    show.say(f"{found['name']}, registered {show.age(found['created_s'])} ago by {found['created_by']}")
    if found["aliases"]:
        show.say(f"aliases: {', '.join(found['aliases'])}")
    if found["retired_s"] is not None:
        show.say(f"retired {show.age(found['retired_s'])} ago: it cannot be rolled out")
    if found["notes"]:
        show.say(f"notes: {found['notes']}")
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


@app.command("alias")
def set_alias(
    alias: Annotated[str, typer.Argument(help="digits@stable: the model and the name.")],
    version: Annotated[str | None, typer.Argument(help="Its number, or digits:3.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take the name away.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Give a version a name, or move the name to it. What was rolled out under the name before stays as it is.

    Example: wherry models alias digits@stable 3

    Example: wherry models alias digits@stable --delete
    """
    from wherry.controller.cli.api import Api

    model, name = _parse_alias(alias)
    path = f"models/{model}/aliases/{name}"
    if delete:
        found, told = Api(url).delete(path), f"{alias} is no name any more"
    else:
        number = _number(model, version)
        found, told = Api(url).put(path, {"version": number}), f"{alias} is {model}:{number}"
    show.as_json(found) if json else show.say(told)


@app.command("notes")
def edit_notes(
    version: Version,
    notes: Annotated[str, typer.Argument(help="The remark; empty to take it away.")],
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Change the remark that is kept with a version.

    Example: wherry models notes digits:3 "trained on the winter pictures"
    """
    from wherry.controller.cli.api import Api

    found = Api(url).patch(_one(version), {"notes": notes})
    show.as_json(found) if json else show.say(f"{found['name']}: {found['notes'] or 'no notes'}")


@app.command("retire")
def retire(
    version: Version,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back into use.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Let nobody roll a version out any more. It stays where it runs.

    Example: wherry models retire digits:2 --reason "confuses 3 and 8"
    """
    from wherry.controller.cli.api import Api

    found = Api(url).put(f"{_one(version)}/retirement", {"retired": not undo, "reason": reason})
    told = "is in use again" if undo else "is retired: it stays where it runs, and cannot be rolled out"
    show.as_json(found) if json else show.say(f"{found['name']} {told}")


@app.command("delete")
def delete_version(version: Version, yes: Yes = False, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Forget a version for good, with its artifacts. Refused while anything uses it; its number is not given again.

    Example: wherry models delete digits:2
    """
    from wherry.controller.cli.api import Api

    api, path = Api(url), _one(version)
    confirm(f"Delete {version} for good?", yes=yes)
    gone = api.delete(path)
    show.as_json(gone) if json else show.say(f"{gone['version']} is deleted, and {len(gone['blobs'])} files with it")


@app.command("history")
def history(version: Version, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Who did what to a model, or to one version, and to rollouts of it; newest first.

    Example: wherry models history digits
    """
    from wherry.controller.cli.api import Api

    found = Api(url).get(f"{path_of(version)}/history")
    if json:
        show.as_json(found)
        return
    rows = [
        (show.moment(row["at_s"]), row["actor"], row["action"], row["subject"], _detail(row["detail"])) for row in found
    ]
    show.table(("when", "who", "what", "of", "with"), rows, empty="nothing was done to it yet")


def path_of(version: str) -> str:
    from wherry.controller.core.version_name import parse_version

    model, wanted = parse_version(version)
    return f"models/{model}" if wanted is None else f"models/{model}/versions/{wanted}"


def _one(version: str) -> str:
    """The path of a version that was named, since to change the newest one takes knowing which that is."""
    path = path_of(version)
    if "/versions/" not in path:
        raise Invalid(f"{version!r} names no single version", f"name it as {version}:1")
    return path


def _parse_alias(text: str) -> tuple[str, str]:
    from wherry.controller.core.version_name import parse_version

    model, alias = parse_version(text)
    if not isinstance(alias, str):
        raise Invalid(f"not an alias: {text!r}", "name it as digits@stable")
    return model, alias


def _number(model: str, version: str | None) -> int:
    text = (version or "").removeprefix(f"{model}:")
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        raise Invalid(
            f"not a version of {model}: {version!r}" if version else "no version", "give its number, such as 3"
        )
    return int(text)


def _versions(model: dict[str, Any]) -> str:
    """`1, 2 (retired), 3`."""
    retired = set(model["retired"])
    return ", ".join(f"{number} (retired)" if number in retired else str(number) for number in model["versions"])


def _aliases(model: dict[str, Any]) -> str:
    return ", ".join(f"{alias}: {version}" for alias, version in sorted(model["aliases"].items())) or "–"


def _detail(detail: dict[str, Any]) -> str:
    """What fits in a line; a whole plan does not."""
    told = {
        key: value for key, value in detail.items() if not isinstance(value, dict | list) and value not in ("", None)
    }
    return show.short(", ".join(f"{key} {value}" for key, value in told.items()))


def _variant(variant: dict[str, Any]) -> tuple[str, ...]:
    shape = "×".join(map(str, variant["inputs"][0]["shape"])) + " " + variant["inputs"][0]["dtype"]
    runtimes = ", ".join(f"{floor['family']} ≥ {floor['lowest']}" for floor in variant["runtimes"])
    artifact = variant["artifact"]
    return variant["name"], show.size(artifact["size_bytes"]), shape, runtimes, artifact["digest"][:12]
