"""The OpenAPI document: what FastAPI knows of the routes, with the bodies, answers and roles that our handlers have.

Rules upheld here:
- Schemas are made from the structs that bodies are decoded by and answers are encoded from, never written by hand.
- Patterns end in `$`, which in the regular expressions of JSON Schema is the end of the text and nothing else.
"""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from wherry.controller.core.gates import GATES
from wherry.controller.core.roles import LEAST_ROLE
from wherry.controller.http.openapi_answers import ANSWERS, ANYTHING, Answer
from wherry.controller.http.openapi_bodies import BODIES, DIGEST, RAW_BODIES, Operation
from wherry.controller.http.problems import MEDIA_TYPE, Problem
from wherry.protocol.types import DEVICE_PATTERN, DIGEST_PATTERN, MAX_COUNT, NAME_PATTERN

PREFIX = "/api/v1"
SCHEMAS = "#/components/schemas/"

_NUMBER = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT, "example": 12}
_NAME = {"type": "string", "pattern": NAME_PATTERN}

PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "action_id": {"type": "string", "minLength": 1, "maxLength": 64, "example": "5f1d0a9be2c47763"},
    "alias": _NAME | {"example": "stable"},
    "conversion": _NUMBER,
    "device": {"type": "string", "pattern": DEVICE_PATTERN, "example": "pi-1"},
    "digest": {"type": "string", "pattern": DIGEST_PATTERN, "example": DIGEST},
    "gate": {"type": "string", "enum": [name for name, _ in GATES]},
    "model": _NAME | {"example": "digits"},
    "name": _NAME | {"example": "berlin"},
    "rollout": _NUMBER,
    "slot": _NAME | {"example": "main"},
    "version": _NAME | {"example": "3", "description": "A number, or an alias."},
}
"""What names something that there is. Anything else is answered with 404 or 422."""

STATUSES = {
    200: "As it is now",
    201: "Made",
    202: "Taken; it is not done yet",
    206: "The ranges asked for",
    303: "The page is elsewhere",
}

BEARER = {"type": "http", "scheme": "bearer", "description": "A token of `wherry tokens create`. See also x-role."}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _exact_ends(_describe(app))
    return app.openapi_schema


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    shapes, schemas = _schemas()
    document["components"] = {"schemas": schemas, "securitySchemes": {"bearer": BEARER}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _complete(operation, (method.upper(), path.removeprefix(PREFIX)), shapes)
    return document


def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type in the tables, most of them a reference; and what they refer to."""
    answers = [entry.shape for entry in (*ANSWERS.values(), ANYTHING) if not isinstance(entry.shape, str)]
    types = [*dict.fromkeys([Problem, *(body.shape for body in BODIES.values()), *answers])]
    found, schemas = msgspec.json.schema_components(types, schema_hook=_anything, ref_template=SCHEMAS + "{name}")
    return dict(zip(types, found, strict=True)), schemas


def _anything(kind: type) -> dict[str, Any]:
    """Of `object`, which msgspec has no schema for; another type would have to be seen to."""
    if kind is object:
        return {"description": "Any JSON."}
    raise NotImplementedError


def _complete(operation: dict[str, Any], key: Operation, shapes: dict[Any, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            parameter["schema"] = PATH_PARAMETERS.get(parameter["name"], parameter["schema"])
    body = _body(key, shapes)
    if body:
        operation["requestBody"] = {"required": True, "content": body}
    operation["responses"] = _responses(ANSWERS.get(key, ANYTHING), shapes)
    if any(parameter["name"] == "If-None-Match" for parameter in operation.get("parameters", ())):
        operation["responses"]["304"] = {"description": "As it is known already; no body"}
    if any(parameter["name"] == "Last-Event-ID" for parameter in operation.get("parameters", ())):
        operation["responses"]["204"] = {"description": "Nothing more will come; no body"}
    role = LEAST_ROLE.get(key)
    operation["security"] = [{"bearer": []}] if role is not None else []
    operation["x-role"] = role


def _body(key: Operation, shapes: dict[Any, Any]) -> dict[str, Any] | None:
    if key in RAW_BODIES:
        return {RAW_BODIES[key]: {"schema": {"type": "string", "format": "binary"}}}
    if key in BODIES:
        body = BODIES[key]
        return {"application/json": {"schema": shapes[body.shape], "example": body.example}}
    return None


def _responses(answer: Answer, shapes: dict[Any, Any]) -> dict[str, Any]:
    """By status, and for every other one the problem."""
    if isinstance(answer.shape, str):
        content: dict[str, Any] = {answer.shape: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": shapes[answer.shape]}}
    found = {str(status): {"description": STATUSES[status], "content": content} for status in answer.statuses}
    problem = {"description": "A problem of RFC 9457", "content": {MEDIA_TYPE: {"schema": shapes[Problem]}}}
    return found | {"default": problem}


def _exact_ends(node: Any) -> Any:
    """The same with every pattern as JSON Schema's language of regular expressions has it."""
    if isinstance(node, dict):
        return {key: _end(value) if key == "pattern" else _exact_ends(value) for key, value in node.items()}
    return [*map(_exact_ends, node)] if isinstance(node, list) else node


def _end(pattern: Any) -> Any:
    return pattern.replace(r"(?![\s\S])", "$") if isinstance(pattern, str) else _exact_ends(pattern)
