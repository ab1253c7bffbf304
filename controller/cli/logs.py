"""`wherry logs`: what devices say about themselves."""

from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Url
from wherry.protocol.up.log import Level

POLL_S = 1.0


def logs(
    device: Annotated[str | None, typer.Argument(help="Its id; every device without it.")] = None,
    level: Annotated[Level, typer.Option(help="The least serious level to show.")] = "info",
    lines: Annotated[int, typer.Option(help="How many lines at most.", min=1, max=5000)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and show new lines as they come.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document a line, and nothing else.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show the log lines of a device, or of the whole fleet, oldest first.

    Example: wherry logs pi-1 --level warning --follow
    """
    import time

    from wherry.controller.cli.api import Api

    api = Api(url)
    query: dict[str, str | int] = {"level": level, "max_lines": lines}
    if device is not None:
        query["device"] = device
    found = api.get("logs", **query)
    _print(found, as_json=json)
    while follow:
        if found:
            query["after_id"] = found[-1]["id"]
        time.sleep(POLL_S)
        found = api.get("logs", **query)
        _print(found, as_json=json)


def _print(found: list[dict[str, Any]], *, as_json: bool) -> None:
    for line in found:
        if as_json:
            show.as_json_line(line)
        else:
            show.say(_text(line))


def _text(line: dict[str, Any]) -> str:
    fields = "".join(f"  {key}={value}" for key, value in line["fields"].items() if key != "device")
    return f"{show.moment(line['at_s'])}  {line['device']:<12} {line['level']:<8} {line['event']}{fields}"
