"""What an error tells a person to type can be typed: every command in a hint of the code is one that there is."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.test_docs import problem, quoted

ROOT = Path(__file__).parents[2]
PLACE = "1"
"""What stands for a value that is put in when the hint is told: a number is a name, too."""


def texts(source: str) -> Iterator[str]:
    """Every text of a module, with `PLACE` for what is put in."""
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else PLACE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def commands(source: str) -> list[str]:
    return [line for text in texts(source) for line in quoted(" ".join(text.split()))]


def test_every_command_in_a_hint_would_be_understood() -> None:
    found = [
        (str(path.relative_to(ROOT)), line)
        for part in ("controller", "converters", "agent", "protocol")
        for path in sorted((ROOT / part).rglob("*.py"))
        if "`wherry " in (source := path.read_text())
        for line in commands(source)
    ]
    assert len(found) > 50
    assert [(path, line, why) for path, line in found if (why := problem(line))] == []


def test_a_hint_with_a_command_that_does_not_exist_is_noticed() -> None:
    """The negative control."""
    hints = 'raise Conflict(f"{what} is there", f"use `wherry rollout begin {name} --to {place}` first")'
    assert commands(hints) == ["wherry rollout begin 1 --to 1"]
    assert problem(commands(hints)[0]) == "no command begin"
