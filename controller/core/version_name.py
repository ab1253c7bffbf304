"""How people name a version: `digits:3`, or `digits` for the newest."""

import re

from wherry.controller.errors import Invalid
from wherry.protocol.types import is_name


def parse_version(text: str) -> tuple[str, int | None]:
    """`digits:3` as ("digits", 3), `digits` as ("digits", None). Raises Invalid."""
    found = re.fullmatch(r"([^:]+)(?::([1-9][0-9]{0,8}))?", text)
    if found is None or not is_name(found[1]):
        raise Invalid(f"not a version: {text!r}", "name it as digits:3, or digits for the newest")
    return found[1], int(found[2]) if found[2] else None
