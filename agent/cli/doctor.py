"""`wherry-agent doctor`."""

from collections.abc import Callable, Iterable
from functools import partial

from wherry.agent.adapters.control import NoAnswer
from wherry.agent.cli import show
from wherry.agent.cli.check import Check, fail, guarded, ok, warn
from wherry.agent.cli.check_board import (
    check_clock,
    check_heat,
    check_numpy,
    check_runtimes,
    check_sandbox,
    check_service,
)
from wherry.agent.cli.check_network import check_broker, check_controller
from wherry.agent.cli.check_state import check_state
from wherry.agent.cli.status import from_agent
from wherry.agent.config import Config

LABELS = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}


def doctor(config: Config, source: str, *, as_json: bool) -> int:
    """Make every check; exit status 1 where one says `fail`."""
    checks = examine(config, source)
    if as_json:
        show.as_json(checks)
    else:
        _print(checks)
    return 1 if any(check.verdict == "fail" for check in checks) else 0


def examine(config: Config, source: str) -> list[Check]:
    looks: dict[str, Callable[[Config], Iterable[Check]]] = {
        "agent": _agent,
        "state": check_state,
        "runtimes": check_runtimes,
        "numpy": check_numpy,
        "broker": check_broker,
        "controller": check_controller,
        "clock": check_clock,
        "temperature": check_heat,
        "service": check_service,
        "sandbox": check_sandbox,
    }
    found = [ok("configuration", f"{source}: device {config.device} of fleet {config.fleet}")]
    for name, look in looks.items():
        found += guarded(name, partial(look, config))
    return found


def _agent(config: Config) -> Iterable[Check]:
    try:
        status = from_agent(config)
    except NoAnswer as error:
        if error.present:
            yield fail("agent", str(error), "if it stays so, start it again: it hangs; systemd does that by itself")
        else:
            yield warn("agent", str(error), "start it: systemctl start wherry-agent, or wherry-agent run")
        return
    if status.connected:
        yield ok("agent", f"runs, and is connected to {status.broker}")
    else:
        yield warn("agent", f"runs, but is not connected to {status.broker}", "see the line of the broker below")


def _print(checks: list[Check]) -> None:
    show.table([(LABELS[check.verdict], check.name, check.says) for check in checks])
    bad = [check for check in checks if check.verdict != "ok" and check.fix]
    if bad:
        show.say()
        show.say("What to do:")
        show.table([(f"  {check.name}", check.fix) for check in bad])
