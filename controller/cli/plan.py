"""`wherry rollout plan`: what a rollout would do, before anything is sent; and plans as they are typed and read."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url, checked
from wherry.controller.cli.plan_options import given, takes_a_plan
from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.errors import Invalid

if TYPE_CHECKING:
    from wherry.controller.cli.api import Api

MAX_LINES = 10
"""Devices of each wave that are named without --all: a plan for a thousand still fits a terminal."""

Version = Annotated[
    str | None, typer.Argument(help="digits:3, digits@stable, or digits for the newest; the plan's without it.")
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan", "--file", metavar="FILE", help="A plan in TOML or JSON; options that are given override it."
    ),
]


@takes_a_plan
def plan(
    version: Version = None,
    file: PlanFile = None,
    everything: Annotated[
        bool, typer.Option("--all", help=f"Name every device, not {MAX_LINES} of each wave.")
    ] = False,
    init: Annotated[bool, typer.Option("--init", help="Print a plan to begin with, every field explained.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
    **options: Any,
) -> None:
    """Show who would get which variant in which wave, and who none and why. Nothing is sent.

    Example: wherry rollout plan --init > careful.toml

    Example: wherry rollout plan --file careful.toml

    Example: wherry rollout plan digits@stable --target 'site=hall and ram_mb>=2000' --waves 1,10%,100%
    """
    from wherry.controller.cli.api import Api
    from wherry.controller.core.plan_file import EXAMPLE

    if init:
        typer.echo(EXAMPLE, nl=False)
        return
    asked = asked_plan(version, file, options, "wherry rollout plan")
    tell(Api(url), asked, everything=everything, as_json=json)


def tell(api: "Api", asked: AskedPlan, *, everything: bool, as_json: bool) -> None:
    """Say what the plan would do."""
    found = outlook(api, asked, max_lines=None if everything else MAX_LINES)
    show.as_json(found) if as_json else typer.echo(found["text"], nl=False)


def outlook(api: "Api", asked: AskedPlan, max_lines: int | None = 1) -> dict[str, Any]:
    """What the controller says that it would do."""
    limit = f"?max_lines={max_lines}" if max_lines is not None else ""
    found: dict[str, Any] = api.post(f"rollouts/explain{limit}", {"plan": asked})
    return found


def asked_plan(version: str | None, file: Path | None, options: Mapping[str, Any], command: str) -> AskedPlan:
    """The plan of the file, overridden by what was typed. Raises Invalid, with the file or the command at fault."""
    import msgspec

    typed = _named(version) | given(options)
    if file is None and version is None:
        raise Invalid("no version is named", f"name one, or a plan with --plan; see `{command} --help`")
    checked_plan = checked({"model": "any"} | typed, AskedPlan, command)
    if file is None:
        return checked_plan
    overriding = {name: getattr(checked_plan, name) for name in typed}
    return msgspec.structs.replace(_read(file, overriding), **overriding)


def _named(version: str | None) -> dict[str, Any]:
    """Both the number and the alias, so that what is named in a file is overridden whichever it is."""
    from wherry.controller.core.version_name import parse_version

    if version is None:
        return {}
    model, wanted = parse_version(version)
    alias = wanted if isinstance(wanted, str) else None
    return {"model": model, "version": None if alias is not None else wanted, "alias": alias}


def _read(file: Path, overriding: Mapping[str, Any]) -> AskedPlan:
    from wherry.controller.core.plan_file import plan_of, read_plan

    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise Invalid(f"cannot read {file}: {why}", "name a plan; `wherry rollout plan --init` prints one") from error
    fields = read_plan(text, str(file))
    model = {"model": overriding["model"]} if "model" in overriding else {}
    return plan_of(fields | model, str(file))
