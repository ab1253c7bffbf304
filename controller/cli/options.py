"""Options that many commands have, and what checks and confirms what was typed."""

import math
import sys
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from wherry.controller.errors import Invalid
from wherry.protocol.types import is_device_id

T = TypeVar("T")

DEFAULT_URL = ""
"""Nothing was said: the context in use, else this machine (`context_file.resolve`)."""

MAX_ID_CHARS = 64

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="WHERRY_URL",
        help="Where the controller answers.",
        show_default="the context in use, else http://127.0.0.1:8470",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Slot = Annotated[str, typer.Option("--slot", help="Which slot of the devices.")]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="TARGET",
        help="all, ids (pi-1,pi-2), labels (site=hall,kind=cam) or a query ('site=hall and ram_mb>=2000').",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def checked(fields: dict[str, Any], shape: type[T], command: str) -> T:
    """`fields` as `shape`. Raises Invalid, with the field and its bounds."""
    refuse_infinite(fields, command)
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        raise Invalid(f"a value is out of range: {error}", f"see `{command} --help`") from error


def refuse_infinite(fields: dict[str, Any], command: str) -> None:
    """Raises Invalid, with the field."""
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Invalid(f"{name} is {value:g}, which is not a number to count to", f"see `{command} --help`")


def device_id(text: str) -> str:
    """`text` if a device can have this id. Raises Invalid."""
    if not is_device_id(text):
        raise Invalid(f"not a device id: {text!r}", "ids have lower case letters, digits and hyphens")
    return text


def action_id(text: str) -> str:
    """`text` if an order can have this id. Raises Invalid."""
    if not text.isalnum() or len(text) > MAX_ID_CHARS:
        raise Invalid(f"not the id of an order: {text!r}", "see `wherry devices actions DEVICE`")
    return text


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that many devices feel; a script says --yes. Raises Invalid, or click.Abort for no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Invalid("nobody is there to confirm", "add --yes to do it without asking")
    typer.confirm(question, abort=True, err=True)
