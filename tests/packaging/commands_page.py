"""The page docs/reference/cli.md: `python -m tests.packaging.commands_page` writes it again.

Made from the commands themselves, options and defaults included; a test compares them.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from unittest import mock

import typer

from wherry.agent.__main__ import main as agent
from wherry.controller.cli.__main__ import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

HEADING = """# Commands

Made from the commands themselves by `make generated`.

Exit status: 0 well; 1 the command ran and the answer is bad (a rollout did not complete, or a bug of ours);
2 the caller must change something, said in one line on standard error; 3 no controller answers, or what it needs
is not there; 4 not allowed; 130 interrupted. More: [exit codes](exit-codes.md). With `--json` a command prints JSON
on standard output and nothing else.

`wherry --install-completion` teaches your shell to complete commands, options and the names of contexts. Which
controller is called where no `--url` is given: [give access](../how-to/give-access.md).
"""


def command() -> Any:
    """The tree of commands, as Typer's own copy of Click has it."""
    return typer.main.get_command(app)


def page() -> str:
    return "\n".join([HEADING, *_section("wherry", command()), *_agent(), ""])


def _section(path: str, node: Any) -> Iterator[str]:
    about = re.sub(r"^(Example[^:]*): (.*)$", r"\1: `\2`", node.help.strip(), flags=re.MULTILINE)
    yield from (f"## {path}", "", f"    {path}{_form(node)}", "", about, "")
    shown = [parameter for parameter in node.params if not getattr(parameter, "hidden", False)]
    rows = [_row(parameter) for parameter in shown if parameter.name != "help"]
    if rows:
        yield from ("| argument or option | default | meaning |", "|---|---|---|", *rows, "")
    for name, child in getattr(node, "commands", {}).items():
        yield from _section(f"{path} {name}", child)


def _form(node: Any) -> str:
    words = [_argument(parameter) for parameter in node.params if parameter.param_type_name == "argument"]
    required = [
        f"{parameter.opts[0]} {_kind(parameter)}"
        for parameter in node.params
        if parameter.param_type_name == "option" and parameter.required
    ]
    commands = [] if not hasattr(node, "commands") else ["[COMMAND]" if node.invoke_without_command else "COMMAND"]
    return "".join(f" {word}" for word in [*words, *required, "[OPTIONS]", *commands])


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"| `{_argument(parameter)}` | {_default(parameter)} | {_meaning(parameter)} |"
    flag = getattr(parameter, "is_flag", False)
    names = ", ".join(f"`{name}`" if flag else f"`{name} {_kind(parameter)}`" for name in parameter.opts)
    return f"| {names} | {_default(parameter)} | {_meaning(parameter)} |"


def _argument(parameter: Any) -> str:
    name = parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _kind(parameter: Any) -> str:
    """What stands for the value: choices, N for a number, PATH or TEXT."""
    if parameter.metavar:
        return str(parameter.metavar)
    annotation = parameter.type_descriptor.annotation
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)] or [annotation]
    if get_origin(annotation) is Literal:
        return "{" + ",".join(kinds) + "}"
    return {Path: "PATH", str: "TEXT"}.get(kinds[0], "N")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(getattr(parameter, "show_default", None), str):
        return f"`{parameter.show_default}`"
    if parameter.default in (None, False, ""):
        return ""
    return f"`{parameter.default:g}`" if isinstance(parameter.default, float) else f"`{parameter.default}`"


def _meaning(parameter: Any) -> str:
    variable = f" Environment: `{parameter.envvar}`." if getattr(parameter, "envvar", None) else ""
    return (parameter.help or "").replace("|", "\\|") + variable


def _agent() -> list[str]:
    """The agent's own helps say it all."""
    about = "What the file says: [agent-configuration.md](agent-configuration.md)."
    lines = ["## wherry-agent", "", *_said(), about, ""]
    for command in ("status", "doctor", "reset"):
        lines += [f"## wherry-agent {command}", "", *_said(command)]
    return lines[:-1]


def _said(*command: str) -> list[str]:
    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "100"}),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        agent([*command, "--help"])
    return ["```text", said.getvalue().rstrip(), "```", ""]


if __name__ == "__main__":
    PAGE.write_text(page())
