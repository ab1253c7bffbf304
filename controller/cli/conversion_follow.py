"""Watching a conversion of the controller: a bar on a terminal, lines elsewhere, always on standard error.

The exit status tells scripts how it ended: 0 succeeded, 2 where the caller can mend it, 1 otherwise; 130 where
the watching was interrupted, and the conversion goes on.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from wherry.controller.cli import show
from wherry.controller.errors import Invalid

if TYPE_CHECKING:
    from wherry.controller.cli.api import Api

POLL_S = 0.5
INTERRUPTED = 130


def follow(api: "Api", conversion: int, *, as_json: bool) -> None:
    """Show the conversion until it has ended. Raises Invalid or typer.Exit where it did not succeed."""
    last: dict[str, Any] = {}
    try:
        with _progress() as tell:
            for last in _states(api, conversion):
                tell(last)
    except KeyboardInterrupt:
        typer.echo(f"conversion {conversion} goes on: `wherry conversions show {conversion} --follow`", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        show.as_json(last)
    _end(api, last, quiet=as_json)


def headline(found: dict[str, Any]) -> str:
    """`conversion 3 digits running: [2/6] quantizing (40 of 256)`."""
    told = f"conversion {found['id']} {found['model']} {found['state']}"
    if found["state"] == "running" and found["text"]:
        within = f" ({found['done']} of {found['total']})" if found["total"] else ""
        return f"{told}: [{found['step']}/{found['steps']}] {found['text']}{within}"
    if found["version"] is not None:
        return f"{told}: {found['model']}:{found['version']}"
    return f"{told}: {found['failure']['message']}" if found["failure"] else told


def _states(api: "Api", conversion: int) -> Iterator[dict[str, Any]]:
    """The conversion at every poll; the last one has ended."""
    while True:
        found: dict[str, Any] = api.get(f"conversions/{conversion}")
        yield found
        if not found["live"]:
            return
        time.sleep(POLL_S)


def _end(api: "Api", last: dict[str, Any], *, quiet: bool) -> None:
    state, failure, number = last["state"], last["failure"], last["id"]
    if state == "succeeded":
        if not quiet:
            _tell_version(api, last["model"], last["version"])
        return
    if last["report"] is not None:
        typer.echo(f"report: {api.url}/api/v1/conversions/{number}/report.html", err=True)
    if failure is not None and not failure["ours"]:
        raise Invalid(failure["message"], failure["fix"])
    typer.echo(f"wherry: {show.plain(headline(last))}", err=True)
    if failure is not None:
        typer.echo(f"This is a bug in the converters; `wherry conversions log {number}` helps to find it.", err=True)
    raise typer.Exit(1)


def _tell_version(api: "Api", model: str, number: int) -> None:
    from wherry.controller.cli.packages import report_url

    typer.echo(f"registered as {model}:{number}; roll it out with: wherry rollout start {model}:{number}")
    page = report_url(api, api.get(f"models/{model}/versions/{number}"))
    if page is not None:
        typer.echo(f"report: {page}")


@contextmanager
def _progress() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Warnings stay; the newest progress moves a bar, or is a line where it has changed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    warned = 0
    if not sys.stderr.isatty():
        told = ""

        def tell_lines(found: dict[str, Any]) -> None:
            nonlocal told, warned
            warned = _warn(found, warned)
            line = f"[{found['step']}/{found['steps']}] {found['text']}" if found["text"] else found["state"]
            if line != told:
                typer.echo(show.plain(line), err=True)
            told = line

        yield tell_lines
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
    with Progress(
        *columns, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("queued", total=None)

        def tell_bar(found: dict[str, Any]) -> None:
            nonlocal warned
            warned = _warn(found, warned)
            description = show.plain(found["text"]) or found["state"]
            bar.update(task, description=description, completed=max(found["step"] - 1, 0), total=found["steps"] or None)

        yield tell_bar


def _warn(found: dict[str, Any], already: int) -> int:
    """Say the warnings after the first `already`; how many there are now."""
    for warning in found["warnings"][already:]:
        fix = f"; {warning['fix']}" if warning["fix"] else ""
        typer.echo(show.plain(f"warning: {warning['message']}{fix}"), err=True)
    return len(found["warnings"])
