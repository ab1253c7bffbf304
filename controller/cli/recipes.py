"""The recipe of a conversion from what was typed: a file, names of variants, and options over both."""

import tomllib
from pathlib import Path
from typing import Any

from wherry.controller.cli.options import checked, refuse_infinite
from wherry.controller.errors import Invalid
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.recipe import VARIANTS, Recipe


def read(text: str, overrides: dict[str, dict[str, Any]], health: Path | None) -> Recipe:
    """`text` is a TOML file, or variants as in `int8,float16`.

    `overrides` are fields by table; None stands for what was not given. Raises Invalid.
    """
    fields = _fields(text)
    if health is not None:
        fields["health"] = _table(fields, "health") | _health(health)
    if "health" in fields:
        fields["health"] = _with_off(_table(fields, "health"))
    for table, values in overrides.items():
        given = {name: value for name, value in values.items() if value is not None}
        refuse_infinite(given, "wherry convert")
        if given and table:
            fields[table] = _table(fields, table) | given
        elif given:
            fields |= given
    _refuse_unknown("health", _table(fields, "health"))
    try:
        return checked(fields, Recipe, "wherry convert")
    except Invalid as error:
        if not Path(text).exists():
            raise
        raise Invalid(f"{text}: {error.message}", "correct it; docs/reference/recipes.md has all fields") from error


def _fields(text: str) -> dict[str, Any]:
    names = [name.strip() for name in text.split(",")]
    if all(name in VARIANTS for name in names):
        return {"variants": names}
    path = Path(text)
    if path.suffix != ".toml" and not path.exists():
        raise Invalid(f"no such variant: {text}", f"name {', '.join(VARIANTS)}, or a recipe in a .toml file")
    return toml(path, "a recipe")


def toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a file. Raises Invalid."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}", f"name a TOML file with {what}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not TOML: {error}", "correct it") from error


def _health(path: Path) -> dict[str, Any]:
    fields = toml(path, "health limits")
    _refuse_unknown(str(path), fields)
    return fields


def _with_off(limits: dict[str, Any]) -> dict[str, Any]:
    """TOML has no word for nothing: a limit that is `"off"` is none."""
    return {name: None if value == "off" else value for name, value in limits.items()}


def _refuse_unknown(where: str, fields: dict[str, Any]) -> None:
    """Messages ignore unknown fields; what a person writes must not be lost."""
    unknown = fields.keys() - set(HealthLimits.__struct_fields__)
    if unknown:
        raise Invalid(
            f"{where}: no such limit: {', '.join(sorted(unknown))}",
            f"there are {', '.join(HealthLimits.__struct_fields__)}",
        )


def _table(fields: dict[str, Any], name: str) -> dict[str, Any]:
    found = fields.get(name, {})
    if not isinstance(found, dict):
        raise Invalid(f"the recipe's {name!r} is not a table", f"write [{name}] above its fields")
    return dict(found)
