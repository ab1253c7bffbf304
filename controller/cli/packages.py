"""A converted package on its way to the controller: checked here, uploaded, registered."""

from pathlib import Path
from typing import Any

import msgspec

from wherry.controller.adapters.package_dir import read_package
from wherry.controller.cli.api import Api


def add_package(api: Api, directory: Path, notes: str = "") -> dict[str, Any]:
    """Upload the blobs and register the version. Raises Invalid, with nothing uploaded, for a wrong package.

    `report_url` in what comes back is the address of the report's page, None where the version has none.
    """
    package = read_package(directory)
    for ref, file in package.blobs:
        api.put_file(f"artifacts/{ref.digest}", file)
    body = {"manifest": package.manifest, "report": msgspec.Raw(package.report), "notes": notes}
    created: dict[str, Any] = api.post(f"models/{package.manifest.model}/versions", body)
    return created | {"report_url": report_url(api, created)}


def report_url(api: Api, version: dict[str, Any]) -> str | None:
    """Where a browser finds the page of a version's report, if it has one."""
    if version.get("report_page") is None:
        return None
    return f"{api.url}/api/v1/models/{version['model']}/versions/{version['number']}/report.html"
