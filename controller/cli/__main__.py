"""The command `wherry`: puts the commands together, and turns what they raise into a line and an exit status.

0 well; 1 the command ran and the answer is bad (a rollout was taken back, or a bug of ours); 2 the
caller must change something; 3 no controller answers, or what it needs is not there; 4 not allowed; 130
interrupted. Scripts rely on them: a number never changes its meaning (`docs/reference/exit-codes.md`).
"""

import sys
from typing import Annotated

import typer

from wherry import __version__
from wherry.controller.cli import (
    actions,
    backup,
    context,
    controller,
    conversions,
    convert,
    devices,
    groups,
    logs,
    models,
    rollback,
    rollout,
    steering,
    tokens,
)
from wherry.controller.cli.api import ServerBug
from wherry.controller.cli.conversion import ConversionBug
from wherry.controller.errors import ControllerError, NotAllowed, Unavailable

BAD_ANSWER = 1
CALLER_MUST_CHANGE = 2
NOT_THERE = 3
NOT_ALLOWED = 4
INTERRUPTED = 130
"""What Typer makes of Ctrl-C, and every shell."""

app = typer.Typer(
    name="wherry",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(controller.controller)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(convert.convert)
app.add_typer(conversions.app, name="conversions")
app.add_typer(models.app, name="models")
app.add_typer(devices.app, name="devices")
devices.app.command("action")(actions.order)
devices.app.command("actions")(actions.list_actions)
devices.app.command("collected")(actions.fetch)
app.add_typer(groups.app, name="groups")
app.add_typer(tokens.app, name="tokens")
app.add_typer(context.app, name="context")
app.add_typer(rollout.app, name="rollout")
rollout.app.command("promote")(steering.promote)
rollout.app.command("hold")(steering.hold)
rollout.app.command("retry")(steering.retry)
rollout.app.command("override")(steering.override)
rollout.app.command("withdraw")(steering.withdraw)
rollout.app.command("verdicts")(steering.verdicts)
devices.app.command("pin")(steering.pin)
devices.app.command("unpin")(steering.unpin)
devices.app.command("pins")(steering.list_pins)
app.command()(rollback.rollback)
app.command()(logs.logs)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wherry {__version__}")
        raise typer.Exit


@app.callback()
def wherry(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Ship models to a fleet of small devices, watch them run, and take them back when they misbehave.

    Exit status: 0 well, 1 the answer is bad, 2 change something, 3 no controller, 4 not allowed, 130 interrupted.
    """


def main() -> None:
    """Run the command line; never returns."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit status of one command; what goes wrong is said in one line on standard error."""
    try:
        status = app(arguments or ["--help"], prog_name="wherry", standalone_mode=False)
    except ControllerError as error:
        return _say(error.line, _status_of(error))
    except ServerBug as error:
        return _say(f"the controller failed: {error}", BAD_ANSWER)
    except ConversionBug as error:
        return _say(f"{error}\nThis is a bug in the converters; the lines above help to find it.", BAD_ANSWER)
    except typer.TyperException as error:
        return _say(f"{error.format_message().rstrip('.')}; {_where_to_look(error)}", CALLER_MUST_CHANGE)
    except typer.Abort:
        return _say("not confirmed, so nothing was done", INTERRUPTED)
    if status == INTERRUPTED:
        return _say("interrupted", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _status_of(error: ControllerError) -> int:
    """By who must act: nothing that is typed mends what is not there, and no other words let in who may not."""
    if isinstance(error, Unavailable):
        return NOT_THERE
    return NOT_ALLOWED if isinstance(error, NotAllowed) else CALLER_MUST_CHANGE


def _where_to_look(error: typer.TyperException) -> str:
    """The help of the command that was typed, as far as it was understood."""
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context is not None else 'wherry'} --help`"


def _say(text: str, status: int) -> int:
    print(f"wherry: {text}", file=sys.stderr)  # noqa: T201 - the one line for the caller
    return status


if __name__ == "__main__":
    main()
