"""The command line of `wherry-agent`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from wherry import __version__

CONFIG = Path("/etc/wherry/agent.toml")
"""Where an image has it."""

_ABOUT = """Runs models on this device as its controller wants, and tells the person at the board how that goes.

Without a command it runs. A file `agent.env` beside the configuration holds environment variables of this board."""

_RUN = "Run in the foreground, until SIGTERM or Ctrl-C. JSON lines on standard error; systemd is told when it is ready."

_STATUS = """Say what this device is, whether it is connected, and what each slot runs.

Asks the running agent; without one, reads what it left on disk. Changes nothing.
Exit status: 0 an agent runs, 1 none does or it does not answer, 2 the configuration is wrong."""

_DOCTOR = """Look for what keeps this device from working: one line a check, with what to do.

Works beside a running agent and without one, and disturbs neither it nor its session with the broker.
Exit status: 0 nothing is broken (there may be warnings), 1 something is, 2 the configuration is wrong."""

_RESET = """Forget what this device was told, so that it takes its controller's documents as new ones.

Needs the agent stopped. The counts of starts and the ids of orders that were carried out are kept: sessions
go on growing, and no order is carried out twice. Says what will happen, and asks."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="wherry-agent", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"wherry-agent {__version__}")
    _add_config(top, CONFIG)
    top.set_defaults(command="run")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=False)
    add = _adder(commands)
    add("run", "run in the foreground (the default)", _RUN, "wherry-agent run --config agent.toml")
    status = add("status", "what it runs and how it does", _STATUS, "wherry-agent status", "wherry-agent status --json")
    doctor = add("doctor", "what is wrong, and what to do", _DOCTOR, "sudo -u wherry wherry-agent doctor")
    for command in (status, doctor):
        command.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    _add_reset(add)
    return top


def parse(arguments: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(arguments)
    options.command = options.command or "run"
    return options


def _adder(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> Callable[..., argparse.ArgumentParser]:
    def add(name: str, short: str, about: str, *examples: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=short, description=about, formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog="\n".join(["examples:", *(f"  {example}" for example in examples)]),
        )  # fmt: skip
        _add_config(command, argparse.SUPPRESS)
        return command

    return add


def _add_reset(add: Callable[..., argparse.ArgumentParser]) -> None:
    reset = add(
        "reset", "forget what it was told", _RESET,
        "sudo -u wherry wherry-agent reset --quarantine", "sudo -u wherry wherry-agent reset --slot main --yes",
    )  # fmt: skip
    what = reset.add_mutually_exclusive_group()
    what.add_argument("--quarantine", action="store_true", help="only the versions that were found bad")
    what.add_argument("--all", action="store_true", help="everything, and all files of versions and unsent events")
    reset.add_argument("--slot", metavar="NAME", help="only this slot; every slot without it")
    reset.add_argument("--yes", "-y", action="store_true", help="do not ask")


def _add_config(command: argparse.ArgumentParser, default: object) -> None:
    command.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help=f"the configuration, TOML (default: {CONFIG})"
    )
