"""The OpenAPI document says what the handlers read: every operation with a body has its schema and an example."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema
import msgspec
import pytest
from fastapi.routing import APIRoute, APIRouter

import wherry.controller.http as http
from wherry.controller.core.roles import LEAST_ROLE
from wherry.controller.http.app import make_app
from wherry.controller.http.desk import Desk
from wherry.controller.http.openapi_answers import ANSWERS
from wherry.controller.http.openapi_bodies import BODIES, RAW_BODIES

PREFIX = "/api/v1"
APP = make_app(cast(Desk, None))
DOCUMENT = json.loads(json.dumps(APP.openapi()))


def _routes() -> Iterator[tuple[tuple[str, str], APIRoute]]:
    """Of every router in the package, also of one that somebody adds tomorrow."""
    for found in pkgutil.iter_modules(http.__path__):
        router = getattr(importlib.import_module(f"{http.__name__}.{found.name}"), "router", None)
        for route in router.routes if isinstance(router, APIRouter) else ():
            assert isinstance(route, APIRoute)
            yield from (((method, route.path), route) for method in route.methods)


def _names(route: APIRoute) -> tuple[str, ...]:
    return cast(Any, route.endpoint).__code__.co_names


def test_every_operation_that_reads_json_says_what() -> None:
    reading = {key: _names(route) for key, route in _routes() if "read_json" in _names(route)}
    assert set(reading) == set(BODIES)
    wrong = [key for key, names in reading.items() if BODIES[key].shape.__name__ not in names]
    assert wrong == []


def test_every_operation_that_reads_bytes_says_so() -> None:
    reading = {key for key, route in _routes() if {"_read", "_receive", "stream"} & set(_names(route))}
    assert reading == set(RAW_BODIES)


def test_the_tables_name_nothing_that_is_gone() -> None:
    assert {*BODIES, *RAW_BODIES, *ANSWERS} <= set(LEAST_ROLE)


@pytest.mark.parametrize("key", sorted(BODIES))
def test_each_example_is_read_in_full_and_fits_its_schema(key: tuple[str, str]) -> None:
    body = BODIES[key]
    value = msgspec.json.decode(msgspec.json.encode(body.example), type=body.shape, strict=True)
    assert set(body.example) <= set(value.__struct_fields__)
    method, path = key
    media = DOCUMENT["paths"][PREFIX + path][method.lower()]["requestBody"]["content"]["application/json"]
    assert media["example"] == body.example
    jsonschema.validate(body.example, media["schema"] | {"components": DOCUMENT["components"]})


def test_every_reference_leads_somewhere() -> None:
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert named == set(DOCUMENT["components"]["schemas"])


def test_every_operation_names_its_role_and_its_problem() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            role = LEAST_ROLE[method.upper(), path.removeprefix(PREFIX)]
            assert operation["x-role"] == role
            assert operation["security"] == ([{"bearer": []}] if role else [])
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"], "no shape but the problem's"
    assert DOCUMENT["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_patterns_are_in_the_language_of_json_schema() -> None:
    assert r"[\\s\\S]" not in json.dumps(DOCUMENT)


def test_numbers_in_queries_and_paths_have_bounds() -> None:
    loose = [
        f"{method} {path} {parameter['name']}"
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
        for parameter in operation.get("parameters", ())
        for schema in parameter["schema"].get("anyOf", [parameter["schema"]])
        if schema.get("type") in ("integer", "number") and not {"maximum", "exclusiveMaximum"} & set(schema)
    ]
    assert loose == []
