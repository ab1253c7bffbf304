"""The page docs/reference/http-api.md: `python -m tests.packaging.http_page` writes it again.

Made from the routes of the app and the structs that their handlers read; a test compares them.
"""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from fastapi import APIRouter

import wherry.controller.http
from wherry.controller.http.app import make_app
from wherry.controller.http.desk import Desk
from wherry.controller.http.problems import STATUS
from wherry.protocol.types import Struct

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"

HEADING = """# The HTTP API

Made from the routes of the controller by `make generated`. OpenAPI, with bodies: `GET /api/v1/openapi.json`.

Bodies are JSON. Fields that are not known are ignored, as on the wire. Moments are seconds since 1970.
Whatever goes wrong is a problem of RFC 9457 (`application/problem+json`) with `status`, `title`, `detail`, and
`fix` where the caller can do something: {problems}. 500 is a bug of ours.

`RolloutPlan` has the fields of [the plan's table](health-and-gates.md#the-plan); `Manifest` is described by
[its schema](../../protocol/schemas/v1/manifest.json). `Target` is `{{"devices": ["pi-1"]}}`,
`{{"labels": {{"site": "hall"}}}}`, or `{{}}` for all. `GET` of an artifact also answers `HEAD` and `Range`.

Nothing asks who is calling yet; see [how to run the controller](../how-to/run-the-controller.md).

| method | path | query | body | what it does |
|---|---|---|---|---|
"""


def page() -> str:
    problems = sorted({f"{kind.status} {kind.title}" for kind in STATUS.values()})
    rows = [_row(path, method, operation) for path, method, operation in _operations()]
    bodies = [line for body in dict.fromkeys(_bodies().values()) for line in _body(body)]
    return "\n".join([HEADING.format(problems=", ".join(problems)) + "\n".join(rows), "", *bodies])


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    """In the order of the paths; the app does nothing without its desk but tell its schema."""
    paths = make_app(cast(Desk, None)).openapi()["paths"]
    return [(path, method, operation) for path in sorted(paths) for method, operation in paths[path].items()]


def _row(path: str, method: str, operation: dict[str, Any]) -> str:
    query = [entry for entry in operation.get("parameters", ()) if entry["in"] == "query"]
    body = _bodies().get((path, method.upper()))
    said = operation.get("description", operation["summary"].capitalize()).split("\n\n")[0].replace("\n", " ")
    named = "" if body is None else f"[{body.__name__}](#{body.__name__.lower()})"
    return f"| {method.upper()} | `{path}` | {', '.join(map(_parameter, query))} | {named} | {said.rstrip('.')} |"


def _parameter(entry: dict[str, Any]) -> str:
    default = entry["schema"].get("default")
    return f"`{entry['name']}`" + ("" if default is None else f" = {default}")


def _bodies() -> dict[tuple[str, str], type[Struct]]:
    """The struct that a handler reads, by path and method: the one of its own module that its code names."""
    found = {}
    for module in pkgutil.iter_modules(wherry.controller.http.__path__):
        router = getattr(import_module(f"wherry.controller.http.{module.name}"), "router", None)
        for route in router.routes if isinstance(router, APIRouter) else ():
            endpoint = cast(Any, route).endpoint
            for name in endpoint.__code__.co_names:
                kind = endpoint.__globals__.get(name)
                if inspect.isclass(kind) and issubclass(kind, Struct) and kind.__module__ == endpoint.__module__:
                    found[(f"/api/v1{cast(Any, route).path}", next(iter(cast(Any, route).methods)))] = kind
    return found


def _body(body: type[Struct]) -> Iterator[str]:
    yield from (f"## {body.__name__}", "")
    if body.__doc__ and not body.__doc__.startswith(f"{body.__name__}("):
        yield from (inspect.cleandoc(body.__doc__), "")
    yield from ("| field | type | default |", "|---|---|---|")
    hints = get_type_hints(body)
    for field in msgspec.structs.fields(body):
        yield f"| `{field.name}` | {_type(hints[field.name])} | {_default(field)} |"
    yield ""


def _type(kind: Any) -> str:
    """`int or null`, or the words that may be said."""
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_type, get_args(kind)))
    known = {type(None): "null", msgspec.Raw: "any JSON", str: "string", bool: "boolean"}
    return known.get(kind) or str(kind.__name__)


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{(bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)).decode()}`"


if __name__ == "__main__":
    PAGE.write_text(page())
