"""`wherry conversions`: conversions that the controller runs."""

from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url
from wherry.controller.errors import Invalid
from wherry.protocol.types import is_name

app = typer.Typer(help="Conversions that the controller runs.")

Conversion = Annotated[int, typer.Argument(help="Its number.")]


@app.callback(invoke_without_command=True)
def conversions(context: typer.Context, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Conversions that the controller runs; lists them without a command."""
    if context.invoked_subcommand is None:
        list_conversions(json=json, url=url)


@app.command("start")
def start(
    source: Annotated[str, typer.Argument(help="The trained model: a file, or a directory such as a SavedModel.")],
    name: Annotated[str, typer.Option(help="Name of the model, as in digits.")],
    calibration: Annotated[str, typer.Option(help="Real inputs to calibrate with: .npz, .npy, or a directory.")],
    evaluation: Annotated[str | None, typer.Option(help="Labelled inputs, in the same form.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of a source that is code.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Names of variants, as in int8,float16, or a TOML file.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="NAME=VALUE",
            help="A field of the request, its value as in TOML; as often as needed.",
        ),
    ] = None,
    notes: Annotated[str, typer.Option(help="A remark kept with the version.")] = "",
    key: Annotated[
        str | None, typer.Option(help="A name of your own: the same request with it again is the same conversion.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave as soon as it is queued.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Upload a model and its data, and let the controller convert and register it.

    Example: wherry conversions start digits.keras --name digits --calibration train.npz --evaluation test.npz

    Example with options: wherry conversions start net.onnx --name net --calibration pictures -o data_layout=nchw
    """
    from wherry.controller.cli import conversion_order
    from wherry.controller.cli.api import Api
    from wherry.controller.cli.conversion_follow import follow

    if not is_name(name):
        raise Invalid(f"not a name of a model: {name!r}", "use lower case letters, digits, dots and hyphens")
    body: dict[str, Any] = {"model": name, "notes": notes}
    body["options"] = conversion_order.options(option or ())
    if key is not None:
        body["key"] = key
    if recipe is not None:
        body["recipe"] = conversion_order.recipe(recipe)
    api = Api(url)
    api.get("status")
    parts = {"source": source, "calibration": calibration, "evaluation": evaluation, "weights": weights}
    body |= {part: conversion_order.upload(api, given) for part, given in parts.items() if given is not None}
    found = api.post("conversions", body)
    if not no_wait:
        follow(api, found["id"], as_json=json)
    elif json:
        show.as_json(found)
    else:
        typer.echo(f"conversion {found['id']} is queued: `wherry conversions show {found['id']} --follow`")


@app.command("list")
def list_conversions(
    max_conversions: Annotated[int, typer.Option("--max", help="How many at most.", min=1, max=1000)] = 100,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the conversions, newest first."""
    from wherry.controller.cli.api import Api

    found = Api(url).get("conversions", max_conversions=max_conversions)
    if json:
        show.as_json(found)
        return
    columns = ("number", "model", "state", "step", "version", "age", "reason")
    show.table(columns, map(_row, found), empty="no conversions yet: begin one with `wherry conversions start`")


@app.command("show")
def show_conversion(
    conversion: Conversion,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until it has ended.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a conversion: how far it is, its warnings, what it became or why it failed.

    Example: wherry conversions show 3 --follow
    """
    from wherry.controller.cli import conversion_follow
    from wherry.controller.cli.api import Api

    api = Api(url)
    if follow:
        conversion_follow.follow(api, conversion, as_json=json)
        return
    found = api.get(f"conversions/{conversion}")
    if json:
        show.as_json(found)
        return
    show.say(conversion_follow.headline(found))
    show.say(f"asked for {show.age(found['created_s'])} ago by {found['created_by']}, attempts: {found['attempts']}")
    for warning in found["warnings"]:
        show.say(f"warning: {warning['message']}")
    if found["failure"] and found["failure"]["fix"]:
        show.say(f"what to do: {found['failure']['fix']}")


@app.command("log")
def log(conversion: Conversion, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Print what the converters said, the newest 256 KiB.

    Example: wherry conversions log 3
    """
    from wherry.controller.cli.api import Api

    text = Api(url).get_text(f"conversions/{conversion}/log")
    if json:
        show.as_json({"id": conversion, "log": text})
        return
    for line in text.splitlines():
        show.say(line)


@app.command("cancel")
def cancel(conversion: Conversion, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """End a conversion that waits or runs, and leave nothing of it.

    Example: wherry conversions cancel 3
    """
    from wherry.controller.cli.api import Api

    found = Api(url).post(f"conversions/{conversion}/cancel")
    if json:
        show.as_json(found)
    else:
        typer.echo(f"conversion {conversion} is cancelled")


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    step = f"{found['step']} of {found['steps']}" if found["state"] == "running" else "–"
    version = f"{found['model']}:{found['version']}" if found["version"] is not None else "–"
    reason = show.short(found["failure"]["message"]) if found["failure"] else ""
    return found["id"], found["model"], found["state"], step, version, show.age(found["created_s"]), reason
