"""`wherry context`: names for several controllers, and which of them is meant where no --url is given."""

import os
import sys
from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import Json
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.protocol.types import is_name

app = typer.Typer(help="Several controllers by name, and which one is meant.", no_args_is_help=True)


def _names(incomplete: str) -> list[str]:
    """For the shell; a damaged file is told by the commands, not in the middle of a line."""
    from wherry.controller.cli.context_file import load
    from wherry.controller.errors import ControllerError

    try:
        return [name for name in load().contexts if name.startswith(incomplete)]
    except ControllerError:
        return []


Known = Annotated[str, typer.Argument(help="Its name, as in `wherry context list`.", autocompletion=_names)]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="As you want to call it.")],
    controller: Annotated[str, typer.Option("--url", help="Where the controller answers.")],
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read its token from standard input, and keep it with the name.")
    ] = False,
    json: Json = False,
) -> None:
    """Keep a controller by name. The same name and URL with --token-stdin renews the token.

    Example: wherry context add lab --url http://lab:8470 --token-stdin < token
    """
    from wherry.controller.cli.context_file import Context, checked_url, load, save

    _refuse_odd(name)
    url, known = checked_url(controller), load()
    before = known.contexts.get(name)
    if before is not None and not (token_stdin and before.url == url):
        raise Conflict(f"{name} is {before.url} already", f"`wherry context remove {name}` first")
    fresh = Context(url=url, token=_read_token() if token_stdin else "")
    save(_with(known, known.contexts | {name: fresh}))
    told = f"{name} is {url}" if name == known.in_use else f"{name} is {url}; use it with: wherry context use {name}"
    show.as_json(_row(name, fresh, known.in_use)) if json else show.say(told)


@app.command("use")
def use(
    name: Annotated[str, typer.Argument(help="Its name.", autocompletion=_names, show_default=False)] = "",
    none: Annotated[bool, typer.Option("--none", help="None of them: the controller on this machine.")] = False,
) -> None:
    """Call this controller from now on, where no --url and no WHERRY_URL is given."""
    from wherry.controller.cli.context_file import Contexts, load, save

    if none is bool(name):
        raise Invalid("name one context, or say --none", "see `wherry context list`")
    known = load()
    save(Contexts(in_use=_found(known, name) if name else "", contexts=known.contexts))
    show.say(f"from now on {known.contexts[name].url}" if name else "from now on the controller on this machine")
    _warn()


@app.command("list")
def list_contexts(json: Json = False) -> None:
    """List them, without their tokens."""
    from wherry.controller.cli.context_file import load

    known = load()
    rows = [_row(name, context, known.in_use) for name, context in sorted(known.contexts.items())]
    if json:
        show.as_json(rows)
        return
    cells = [
        (row["name"], "yes" if row["in_use"] else "", row["url"], "kept" if row["has_token"] else "–") for row in rows
    ]
    show.table(("context", "in use", "controller", "token"), cells, empty="no contexts yet: `wherry context add`")
    _warn()


@app.command("remove")
def remove(name: Known) -> None:
    """Forget a controller and its token. One that was in use leaves none in use."""
    from wherry.controller.cli.context_file import load, save

    known = load()
    _found(known, name)
    save(_with(known, {other: context for other, context in known.contexts.items() if other != name}))
    show.say(f"{name} is forgotten; its token is valid until `wherry tokens revoke`")


def _with(known: Any, contexts: dict[str, Any]) -> Any:
    from wherry.controller.cli.context_file import Contexts

    return Contexts(in_use=known.in_use if known.in_use in contexts else "", contexts=contexts)


def _found(known: Any, name: str) -> str:
    if name not in known.contexts:
        raise NotFound(f"no context {name!r}", "see `wherry context list`")
    return name


def _row(name: str, context: Any, in_use: str) -> dict[str, Any]:
    return {"name": name, "url": context.url, "in_use": name == in_use, "has_token": bool(context.token)}


def _read_token() -> str:
    from wherry.controller.cli.context_file import checked_token

    at_terminal = sys.stdin.isatty()
    text = typer.prompt("Token", hide_input=True, err=True) if at_terminal else sys.stdin.read(10_000)
    token = checked_token(text, "standard input")
    if not token:
        raise Invalid("standard input has no token in it", "give the one line that `wherry tokens create` printed")
    return token


def _refuse_odd(name: str) -> None:
    if not is_name(name):
        raise Invalid(f"not a name of a context: {name!r}", "use lower case letters, digits, dots and hyphens")


def _warn() -> None:
    """What the file says is not what is done where the environment says otherwise."""
    said = os.environ.get("WHERRY_URL")
    if said:
        typer.echo(f"WHERRY_URL is set, and comes first: {show.plain(said)}", err=True)
