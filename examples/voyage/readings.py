"""What the controller knows of a device, as the story asks for it."""

from typing import Any

Detail = dict[str, Any]


def slot(detail: Detail) -> dict[str, Any]:
    """The report on the slot `main`."""
    return next((entry for entry in detail["device"]["slots"] if entry["slot"] == "main"), {"phase": "unknown"})


def serving(detail: Detail) -> str:
    """`digits:2`, or nothing."""
    ref = slot(detail).get("serving")
    return f"{ref['model']}:{ref['version']}" if ref else ""


def at_rest(detail: Detail) -> bool:
    return bool(detail["device"]["in_step"]) and slot(detail)["phase"] == "running"


def wanted(detail: Detail) -> str:
    """The version that the device was last sent."""
    entries = detail["device"]["desired"]
    return f"{entries[0]['model']}:{entries[0]['version']}" if entries else ""


def reading(detail: Detail, version: str) -> dict[str, Any]:
    """Inferences, errors, latency and accuracy of one version; empty where it never answered."""
    for entry in detail["readings"]:
        if f"{entry['model']}:{entry['version']}" == version:
            return dict(entry)
    return {}


def events(detail: Detail, kind: str, version: str | None = None) -> list[dict[str, Any]]:
    """Newest first."""
    return [event for event in detail["events"] if event["kind"] == kind and version in (None, _ref(event))]


def phases(detail: Detail, version: str) -> list[str]:
    """The phases that the version went through on the device, oldest first."""
    return [event["to_phase"] for event in reversed(events(detail, "transition", version))]


def reverts(detail: Detail) -> list[dict[str, str]]:
    return [{"version": f"{one['model']}:{one['version']}", "reason": one["reason"]} for one in detail["reverts"]]


def runtime(detail: Detail) -> str:
    """`litert 2.3.0`."""
    birth = detail["device"]["birth"] or {"runtimes": []}
    return ", ".join(f"{entry['family']} {entry['version']}" for entry in birth["runtimes"])


def _ref(event: dict[str, Any]) -> str:
    ref = event.get("ref")
    return f"{ref['model']}:{ref['version']}" if ref else ""
