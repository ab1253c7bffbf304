"""Watching a rollout: a live picture on a terminal, a line a change elsewhere.

A controller that goes away for a while is waited for, since the rollout is not lost with it.
The exit status tells scripts how it ended: 0 completed, 1 otherwise, or where a rollback lost a device.
"""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from wherry.controller.cli import show
from wherry.controller.core.standing import FAILED
from wherry.controller.errors import Unavailable

if TYPE_CHECKING:
    from wherry.controller.cli.api import Api

POLL_S = 0.5
PATIENCE_S = 60.0
"""A controller that is started anew, or whose work another one takes over, answers again long before."""

GOOD = "completed"


def follow(api: "Api", rollout: int, *, as_json: bool) -> None:
    """Show the rollout until it has ended; raises typer.Exit(1) where it did not complete."""
    drawn = sys.stdout.isatty() and not as_json
    last = _picture(api, rollout) if drawn else _lines(api, rollout, as_json=as_json)
    if not went_well(last):
        raise typer.Exit(1)


def went_well(rollout: dict[str, Any]) -> bool:
    """Completed; a rollback, which has no gates, only where no device failed to come back."""
    failed = rollout["kind"] == "rollback" and FAILED & rollout["counts"].keys()
    return rollout["state"] == GOOD and not failed


def _states(api: "Api", rollout: int) -> Iterator[dict[str, Any]]:
    """The rollout at every poll; the last one has ended. Raises Unavailable where the controller stays away."""
    heard_s = float("-inf")  # nobody waits for a controller that never answered: its URL is wrong, most of the time
    while True:
        found = _asked(api, rollout, heard_s)
        if found is not None:
            heard_s = time.monotonic()
            yield found
            if not found["live"]:
                return
        time.sleep(POLL_S)


def _asked(api: "Api", rollout: int, heard_s: float) -> dict[str, Any] | None:
    """None where no controller answers, but one did lately."""
    try:
        found: dict[str, Any] = api.get(f"rollouts/{rollout}")
    except Unavailable:
        if time.monotonic() - heard_s > PATIENCE_S:
            raise
        return None
    return found


def _lines(api: "Api", rollout: int, *, as_json: bool) -> dict[str, Any]:
    told = ""
    last: dict[str, Any] = {}
    for last in _states(api, rollout):
        line = headline(last)
        if line != told and as_json:
            show.as_json_line(last)
        elif line != told:
            show.say(line)
        told = line
    return last


def _picture(api: "Api", rollout: int) -> dict[str, Any]:
    from rich.live import Live

    last: dict[str, Any] = {}
    with Live(console=show.console(), refresh_per_second=4) as live:
        for last in _states(api, rollout):
            live.update(picture(last), refresh=True)
    return last


def headline(rollout: dict[str, Any]) -> str:
    """`rollout 3 digits:2 running, wave 2 of 3: 1 committed, 2 in-progress, 3 waiting; reason`."""
    told = _name(rollout)
    if rollout["state"] == "queued":
        return f"{told}; it {rollout['reason']}"
    if rollout["state"] == GOOD:
        return f"{told}: {rollout['reason']}"
    reason = f"; {rollout['reason']}" if rollout["reason"] else ""
    return f"{told}: {show.counts(rollout['counts'])}{reason}"


def picture(rollout: dict[str, Any]) -> Any:
    """What it is and why, and below it the bars, which have the counts, the gates and the devices."""
    from wherry.controller.cli.picture import picture as below

    if not rollout["devices"]:
        return below(rollout, headline(rollout))
    return below(rollout, _name(rollout) + (f": {rollout['reason']}" if rollout["reason"] else ""))


def _name(rollout: dict[str, Any]) -> str:
    if rollout["state"] == "queued":  # its waves are cut when it begins
        return f"{rollout['kind']} {rollout['id']} {show.plan_of(rollout)} is queued"
    waves = f", wave {rollout['wave']} of {rollout['wave_count']}" if rollout["live"] else ""
    return f"{rollout['kind']} {rollout['id']} {show.plan_of(rollout)} {rollout['state']}{waves}"
