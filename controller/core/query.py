"""Which devices are meant, as a line of text: `site=berlin and ram_mb>=2000 and runtime.litert>=2.1`.

    query       comparisons and groups joined by `and`, `or`, `not` and parentheses; `and` binds closer than `or`
    group       @name: a query that was saved under that name
    comparison  field = value, and != < <= > >=; or field in (value, value)
    value       a word, or anything in double quotes

Fields, as the device reports them:

    device, presence, machine, os                     text
    slot, accelerator                                 text, of which a device may have several
    ram_mb, disk_total_mb, disk_free_mb, cpu_count    numbers; a MB is 1,000,000 bytes
    agent, python, runtime.litert, runtime.tflite-runtime    versions: 2.10 is above 2.9
    label.KEY, or KEY alone where it is none of these        text

Rules upheld here:
- A device that has not said a field matches no comparison with it, but for `!=`, which is `not … = …`.
- Only numbers and versions have an order. What cannot be compared is refused with its column, before anything is sent.
- A group stands for its query, which is put in its place before devices are looked at (`expand`). That query names no
  groups itself, so there is no circle.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from wherry.controller.core.candidate import Candidate
from wherry.controller.errors import Invalid
from wherry.protocol.runtime import Family, version_key
from wherry.protocol.types import Struct, is_name
from wherry.protocol.up import Birth

MAX_CHARACTERS = 1000

_GRAMMAR = r"""
    ?query: any
    ?any: all ("or" all)*
    ?all: not ("and" not)*
    ?not: "not" not -> negation
        | "(" any ")"
        | GROUP -> group
        | comparison
    comparison: FIELD OPERATOR value
        | FIELD "in" "(" value ("," value)* ")" -> among
    ?value: WORD | TEXT

    FIELD: /[A-Za-z_][A-Za-z0-9_.\/-]*/
    GROUP: /@[A-Za-z0-9._-]+/
    OPERATOR: "=" | "!=" | "<=" | "<" | ">=" | ">"
    WORD: /[A-Za-z0-9_.:\/+-]+/
    TEXT: /"[^"]*"/
    %ignore /\s+/
"""

_WORDS = {
    "FIELD": "a field", "OPERATOR": "= != < <= > >=", "WORD": "a value", "TEXT": "a value",
    "GROUP": "a @group", "IN": "in", "AND": "and", "OR": "or", "NOT": "not", "LPAR": "a parenthesis",
    "RPAR": "a closing parenthesis", "COMMA": "a comma", "$END": "the end",
}  # fmt: skip

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip

Value: TypeAlias = str | float | tuple[int, ...]
Kind: TypeAlias = Literal["text", "number", "version"]


class Comparison(Struct, frozen=True, kw_only=True):
    """Holds where one of the device's values of `field` compares with one of `values`."""

    field: str
    operator: str
    values: tuple[Value, ...]


class Negation(Struct, frozen=True, kw_only=True):
    part: "Query"


class Joined(Struct, frozen=True, kw_only=True):
    """All of the parts, or any of them."""

    every: bool
    parts: tuple["Query", ...]


class Group(Struct, frozen=True, kw_only=True):
    """`column` is where the query names it, from 1."""

    name: str
    column: int


Query: TypeAlias = Comparison | Negation | Joined | Group


def holds(query: Query, device: Candidate) -> bool:
    """Whether the query means the device."""
    if isinstance(query, Group):
        raise Invalid(f"column {query.column} of the query: there is no group @{query.name} here")
    if isinstance(query, Negation):
        return not holds(query.part, device)
    if isinstance(query, Joined):
        return (all if query.every else any)(holds(part, device) for part in query.parts)
    compare = _ORDER[query.operator]
    return any(compare(found, value) for found in _values(query.field, device) for value in query.values)


@lru_cache(maxsize=256)
def parse_query(text: str) -> Query:
    """Raises Invalid, with the column, from 1, of what is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise Invalid(f"a query of {len(text)} characters", f"use at most {MAX_CHARACTERS}")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _refusal(text, error) from None
    return _build(text, tree)


def groups_of(text: str) -> tuple[Group, ...]:
    """The groups that the query names, in their order. Raises Invalid."""
    return tuple(_groups(parse_query(text)))


def _groups(query: Query) -> Iterator[Group]:
    if isinstance(query, Group):
        yield query
    elif isinstance(query, Negation):
        yield from _groups(query.part)
    elif isinstance(query, Joined):
        for part in query.parts:
            yield from _groups(part)


def expand(text: str, saved: Mapping[str, str]) -> str:
    """The query with the saved ones in the places of their groups.

    Raises Invalid, with the column, for a group that is not there, and for what becomes too long.
    """
    named = groups_of(text)
    pieces, end = [], 0
    for group in named:
        if group.name not in saved:
            known = ", ".join(f"@{name}" for name in sorted(saved)[:10])
            raise _invalid(
                text, group.column - 1, f"no such group; there are {known}" if known else "there are no groups yet"
            )
        pieces += [text[end : group.column - 1], f"({saved[group.name]})"]
        end = group.column + len(group.name)
    expanded = "".join([*pieces, text[end:]])
    if len(expanded) > MAX_CHARACTERS:
        what = f"a query of {len(expanded)} characters with its groups"
        raise Invalid(what, f"use at most {MAX_CHARACTERS}, or label the devices")
    return expanded


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, start="query", parser="lalr")


def _refusal(text: str, error: UnexpectedInput) -> Invalid:
    if isinstance(error, UnexpectedCharacters):
        at, expected = error.pos_in_stream, error.allowed
    else:
        assert isinstance(error, UnexpectedToken)
        at = len(text) if error.token.type == "$END" else error.token.start_pos
        expected = error.accepts
    words = dict.fromkeys(word for name, word in _WORDS.items() if name in (expected or ()))
    return _invalid(text, at or 0, f"expected {', '.join(words)}")


def _invalid(text: str, at: int, what: str) -> Invalid:
    found = text[at : at + 20].split()
    place = f"at {found[0]!r}" if found else "at the end"
    return Invalid(f"column {at + 1} of the query, {place}: {what}", f"it was: {text}" if text.strip() else "")


def _build(text: str, tree: "Tree[Token] | Token") -> Query:
    assert isinstance(tree, Tree)
    if tree.data in ("comparison", "among"):
        return _comparison(text, [child for child in tree.children if isinstance(child, Token)])
    if tree.data == "group":
        (token,) = tree.children
        assert isinstance(token, Token)
        return _group(text, token)
    parts = tuple(_build(text, child) for child in tree.children)
    return Negation(part=parts[0]) if tree.data == "negation" else Joined(every=tree.data == "all", parts=parts)


def _group(text: str, token: Token) -> Group:
    if not is_name(token[1:]):
        raise _invalid(text, token.start_pos or 0, "names of groups have lower case letters, digits, dots and hyphens")
    return Group(name=token[1:], column=(token.start_pos or 0) + 1)


def _comparison(text: str, tokens: list[Token]) -> Query:
    field, *rest = tokens
    sign = str(rest.pop(0)) if rest[0].type == "OPERATOR" else "="
    kind = _kind(field)
    if kind is None:
        raise _invalid(text, field.start_pos or 0, "no such field; there are " + ", ".join(sorted(_RUNTIMES)))
    if kind == "text" and sign not in ("=", "!="):
        raise _invalid(text, field.start_pos or 0, f"{field} is text, which has no order; use = or != or in")
    values = tuple(_value(text, kind, token) for token in rest)
    compared = Comparison(field=str(field), operator="=" if sign == "!=" else sign, values=values)
    return Negation(part=compared) if sign == "!=" else compared


def _value(text: str, kind: Kind, token: Token) -> Value:
    word = token[1:-1] if token.type == "TEXT" else str(token)
    if kind == "text":
        return word
    pattern, example = _FORMS[kind]
    if re.fullmatch(pattern, word) is None:
        raise _invalid(text, token.start_pos or 0, f"expected a {kind}, such as {example}")
    return version_key(word) if kind == "version" else float(word)


_FORMS: dict[Kind, tuple[str, str]] = {
    "number": (r"[0-9]+(\.[0-9]+)?", "2000"),
    "version": (r"[0-9]+(\.[0-9]+)*", "2.14.0"),
}
_TEXTS: dict[str, Callable[[Birth], tuple[str, ...]]] = {
    "machine": lambda birth: (birth.machine,),
    "os": lambda birth: (birth.os,),
    "slot": lambda birth: birth.slots,
    "accelerator": lambda birth: birth.accelerators,
}
_NUMBERS: dict[str, Callable[[Birth], float]] = {
    "ram_mb": lambda birth: birth.ram_bytes / 1e6,
    "disk_total_mb": lambda birth: birth.disk_total_bytes / 1e6,
    "disk_free_mb": lambda birth: birth.disk_free_bytes / 1e6,
    "cpu_count": lambda birth: birth.cpu_count,
}
_VERSIONS: dict[str, Callable[[Birth], str]] = {
    "agent": lambda birth: birth.agent_version,
    "python": lambda birth: birth.python,
}
_RUNTIMES = {f"runtime.{family}": family for family in get_args(Family)}


def _kind(field: str) -> Kind | None:
    if field in _NUMBERS:
        return "number"
    if field in _VERSIONS or field in _RUNTIMES:
        return "version"
    return None if field.startswith("runtime.") else "text"


def _values(field: str, device: Candidate) -> tuple[Any, ...]:
    if field == "device":
        return (device.device,)
    if field == "presence":
        return ("online" if device.online else "offline",)
    birth = device.birth
    if birth is None:
        return ()
    if field in _TEXTS:
        return _TEXTS[field](birth)
    if field in _NUMBERS:
        return (_NUMBERS[field](birth),)
    if _kind(field) == "version":
        return _versions(field, birth)
    label = birth.labels.get(field.removeprefix("label."))
    return () if label is None else (label,)


def _versions(field: str, birth: Birth) -> tuple[tuple[int, ...], ...]:
    if field in _RUNTIMES:
        found = [runtime.version for runtime in birth.runtimes if runtime.family == _RUNTIMES[field]]
    else:
        found = [_VERSIONS[field](birth)]
    return tuple(version_key(version) for version in found if re.match("[0-9]", version))
