"""`wherry rollback`: the way back, for a whole fleet, in one command."""

from typing import Annotated

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Slot, Target, Url, Yes, confirm


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model, as in digits.")],
    to: Annotated[int | None, typer.Option("--to", help="Number of the version; the one before without it.")] = None,
    slot: Slot = "main",
    target: Target = "all",
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has ended.")] = False,
    yes: Yes = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Bring every device that has the model back to an earlier version, at once, without waves.

    Rollouts of the model that are under way are aborted. Devices that are away follow when they return.

    Example: wherry rollback digits --to 1 --watch
    """
    from wherry.controller.cli.api import Api
    from wherry.controller.cli.follow import follow
    from wherry.controller.cli.models import path_of
    from wherry.controller.core.targeting import parse_target

    body = {"model": model, "version": to, "slot": slot, "target": parse_target(target)}
    api = Api(url)
    api.get(path_of(model if to is None else f"{model}:{to}"))
    confirm(f"Roll {target} back to {f'{model}:{to}' if to else f'the version of {model} before'}?", yes=yes)
    started = api.post("rollbacks", body)
    if watch:
        follow(api, started["id"], as_json=json)
    elif json:
        show.as_json(started)
    else:
        typer.echo(f"rollback {started['id']} to {show.plan_of(started)} has begun: {show.counts(started['counts'])}")
        typer.echo(f"watch it with: wherry rollout watch {started['id']}")
