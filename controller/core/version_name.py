"""How people name a version: `digits:3`, `digits@stable` by an alias, or `digits` for the newest."""

import re

from wherry.controller.errors import Invalid
from wherry.protocol.types import is_name


def parse_version(text: str) -> tuple[str, int | str | None]:
    """`digits:3` as ("digits", 3), `digits@stable` as ("digits", "stable"), `digits` as ("digits", None).

    Raises Invalid.
    """
    found = re.fullmatch(r"([^:@]+)(?::([1-9][0-9]{0,8})|@([^:@]+))?", text)
    if found is None or not is_name(found[1]) or not (found[3] is None or is_alias(found[3])):
        raise Invalid(f"not a version: {text[:200]!r}", "name it as digits:3, digits@stable, or digits for the newest")
    return found[1], int(found[2]) if found[2] else found[3]


def is_alias(text: str) -> bool:
    """A number is none, since versions have those."""
    return is_name(text) and not text.isdecimal()


def check_alias(text: str) -> str:
    """`text`, if it can be an alias. Raises Invalid."""
    if not is_alias(text):
        raise Invalid(
            f"not an alias: {text[:200]!r}", "use lower case letters, digits, dots and hyphens, and not digits alone"
        )
    return text
