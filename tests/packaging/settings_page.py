"""The page docs/reference/agent-configuration.md: `python -m tests.packaging.settings_page` writes it again.

Made from the classes of agent/config.py: types and ranges from the annotations, meanings from the docstring below each
field. What no field tells, such as the files of a feed, is written here by hand; a test compares them.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from wherry.agent import config
from wherry.agent.config import ENV_PREFIX, SECTIONS, Config, SlotConfig

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "agent-configuration.md"
MIB = 1024 * 1024
TABLE, LIST = "table of texts", "list of texts"
UNITS = {"s": "seconds", "bytes": "bytes", "hz": "per second", "ms": "milliseconds"}

HEAD = """# The agent's configuration

Made from `agent/config.py` by `make generated`.

`wherry-agent run --config agent.toml` reads one TOML file (`run` is the default command, `/etc/wherry/agent.toml` the
default file). Paths are relative to the file. A wrong or unknown key stops the start with one line and exit status 2.

Every key can be given by an environment variable, which counts more than the file. `WHERRY_AGENT_` is followed by the
key, and tables are joined to it by one underscore or two: `broker.port` is `WHERRY_AGENT_BROKER_PORT`. Deeper down it
must be two: `slots.main.feed.rate_hz` is `WHERRY_AGENT_SLOTS__MAIN__FEED__RATE_HZ`, and the label `site` is
`WHERRY_AGENT_LABELS__SITE`. Names become lower case, so a slot with a hyphen or a dot in its name needs the file.

A file `agent.env` beside `agent.toml` holds such variables, a line `NAME=value` each, as systemd reads them. It is
how one image serves many boards, and every command of `wherry-agent` reads it.

```toml
device = "boat-1"
fleet = "harbour"
state_dir = "/var/lib/wherry-agent"

[broker]
host = "broker.example"

[slots.main.feed]
directory = "feed"
rate_hz = 20
```
"""

TAIL = """Without a `slots` table there is one slot, `main`; at most eight.

## Files of a feed

A file has `x` ([N, …], in the layout of the version's input), or for several inputs one array under each input's
name, and may have `y` ([N], class numbers; `labels`, where an input is called `y`). Values in the model's own stored
integers go in as they are. All others are raw: what `--preprocess` said at the conversion is done to them, by the
same code, and then they are quantized. Pictures must have the model's size. A file that cannot be used is passed over
and named in the log, and is no error of the model. Cameras, topics and results: [Feed a
model](../how-to/feed-a-model.md).
"""


def page() -> str:
    return "\n".join([HEAD, *_section("The device", Config, ""), *_tables(Config, ""), TAIL])


def _tables(section: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    """A heading and a table for every table of the file, in the order of the fields."""
    for field, kind in _nested(section, prefix):
        yield from _section(f"`[{field}]`", kind, f"{field}.")
        yield from _tables(kind, f"{field}.")


def _nested(section: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for name, kind in get_type_hints(section).items():
        if name != "slots" and (found := _struct(kind)) is not None:
            yield f"{prefix}{name}", found
    if section is Config:
        yield "slots.<name>", SlotConfig


def _section(title: str, section: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    yield from (f"## {title}", "", " ".join(inspect.cleandoc(section.__doc__ or "").split()), "")
    yield from ("| key | type | default | environment | meaning |", "|---|---|---|---|---|")
    meanings, hints = docstrings(section), get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        if _struct(hints[field.name]) is None and field.name != "slots":
            kind = _type(hints[field.name], field.name)
            cells = (kind, _default(field), _variable(prefix + field.name, kind), meanings[field.name])
            yield f"| `{prefix}{field.name}` | {' | '.join(cells)} |"
    yield ""


def docstrings(section: type[msgspec.Struct]) -> dict[str, str]:
    """The literal below each field, which Python itself throws away. Raises KeyError where one is missing."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(tree, ast.ClassDef)
    found, fields = {}, [node for node in tree.body if isinstance(node, ast.AnnAssign)]
    for node in fields:
        below = tree.body[tree.body.index(node) + 1] if node is not tree.body[-1] else None
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(node.target, ast.Name):
            found[node.target.id] = " ".join(str(below.value.value).split())
    return found


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, also an optional one."""
    for part in get_args(kind) or (kind,):
        if inspect.isclass(part) and issubclass(part, msgspec.Struct):
            return part
    return None


def _type(kind: Any, name: str) -> str:
    """`number of seconds, above 0`, or the words that may be said."""
    bounds: list[str] = []
    while get_origin(kind) is Annotated:
        kind, *metas = get_args(kind)
        bounds += [bound for meta in metas for bound in _bounds(meta)]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        (inner,) = [part for part in get_args(kind) if part is not type(None)]
        return _type(inner, name)
    plain = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    word = plain.get(kind) or {dict: TABLE, tuple: LIST}[get_origin(kind)]
    unit = UNITS.get(name.rpartition("_")[2]) if kind in (int, float) else None
    return ", ".join([f"{word} ({unit})" if unit else word, *bounds])


def _bounds(meta: Any) -> Iterator[str]:
    if meta.ge is not None and meta.le is not None:
        yield f"{meta.ge:g} to {_number(meta.le)}"
    elif meta.ge is not None:
        yield f"at least {meta.ge:g}"
    elif meta.gt is not None:
        yield f"above {meta.gt:g}" + ("" if meta.le is None else f", at most {meta.le:g}")
    if meta.min_length:
        yield "not empty"


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value in (None, "", {}, ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    number = _number(value)
    return number if number.endswith("MiB") else f"`{number}`"


def _number(value: Any) -> str:
    """So many bytes as a person would say it."""
    if isinstance(value, int) and value and value % MIB == 0:
        return f"{value // MIB} MiB"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _variable(key: str, kind: str) -> str:
    """With the name of the slot in capitals; a list has none."""
    if kind == LIST:
        return "in the file only"
    key = f"{key}.<name>" if kind == TABLE else key
    section, _, rest = key.partition(".")
    joined = f"{section}_{rest}" if section in SECTIONS and rest else key.replace(".", "__")
    return f"`{ENV_PREFIX}{joined.upper()}`"


def sections() -> list[type[msgspec.Struct]]:
    """Every class of the configuration that a file can hold."""
    return [
        kind
        for kind in vars(config).values()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == config.__name__
    ]


if __name__ == "__main__":
    PAGE.write_text(page())
