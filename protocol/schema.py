"""The JSON Schemas of all messages, generated from the structs: for reviewers and other languages."""

from typing import Any

import msgspec

from wherry.protocol import down, up
from wherry.protocol.manifest import Manifest

DOCUMENTS: dict[str, Any] = {
    "up/status": up.Status,
    "up/birth": up.Birth,
    "up/reported": up.Reported,
    "up/event": up.Event,
    "up/telemetry": up.Telemetry,
    "up/log": up.Log,
    "up/upload": up.Upload,
    "down/desired": down.Desired,
    "down/action": down.Action,
    "down/receipt": down.Receipt,
    "manifest": Manifest,
}


def schemas() -> dict[str, bytes]:
    """By path under `schemas/v1`, without `.json`: the schema of one document, ready to be written."""
    return {path: _render(path, kind) for path, kind in DOCUMENTS.items()}


def _render(path: str, kind: Any) -> bytes:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"wherry v1 {path}",
        **msgspec.json.schema(kind),
    }
    return msgspec.json.format(msgspec.json.encode(schema, order="deterministic"), indent=2) + b"\n"
