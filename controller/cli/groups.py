"""`wherry groups`: queries over the fleet, saved under names."""

from typing import Annotated

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url, Yes, confirm
from wherry.controller.errors import Invalid

app = typer.Typer(help="Queries over the fleet, saved under names.")

Name = Annotated[str, typer.Argument(help="Its name, with or without the @.")]


@app.callback(invoke_without_command=True)
def groups(context: typer.Context, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Queries over the fleet, saved under names; lists them without a command."""
    if context.invoked_subcommand is None:
        list_groups(json=json, url=url)


@app.command("list")
def list_groups(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the groups with the number of devices that each means now."""
    from wherry.controller.cli.api import Api

    found = Api(url).get("groups")
    if json:
        show.as_json(found)
        return
    rows = [(f"@{group['name']}", group["devices"], group["query"], show.age(group["changed_s"])) for group in found]
    show.table(("group", "devices", "query", "changed"), rows, empty="no groups yet: `wherry groups set`")


@app.command("set")
def set_group(
    name: Name,
    query: Annotated[str, typer.Argument(help="What it means.")],
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Save a query under a name. Rollouts that were started keep what the name meant before.

    Example: wherry groups set berlin-lab 'site=berlin and room=lab'

    Then: wherry rollout start digits:3 --target '@berlin-lab and ram_mb>=2000'
    """
    from wherry.controller.cli.api import Api

    found = Api(url).put(_path(name), {"query": query})
    show.as_json(found) if json else show.say(f"@{found['name']} means {found['devices']} devices now")


@app.command("delete")
def delete_group(name: Name, yes: Yes = False, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Forget a name. No rollout changes by it."""
    from wherry.controller.cli.api import Api

    api, path = Api(url), _path(name)
    confirm(f"Delete the group {name}?", yes=yes)
    gone = api.delete(path)
    show.as_json(gone) if json else show.say(f"@{gone['group']} is deleted")


def _path(name: str) -> str:
    from wherry.protocol.types import is_name

    bare = name.removeprefix("@")
    if not is_name(bare):
        raise Invalid(f"not a group: {name!r}", "names have lower case letters, digits, dots and hyphens")
    return f"groups/{bare}"
