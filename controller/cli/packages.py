"""A converted package on its way to the controller: checked here, uploaded, registered."""

from pathlib import Path
from typing import Any

import msgspec

from wherry.controller.adapters.package_dir import read_package
from wherry.controller.cli.api import Api


def add_package(api: Api, directory: Path, notes: str = "") -> dict[str, Any]:
    """Upload the blobs and register the version. Raises Invalid, with nothing uploaded, for a wrong package."""
    package = read_package(directory)
    for ref, file in package.blobs:
        api.put_file(f"artifacts/{ref.digest}", file)
    body = {"manifest": package.manifest, "report": msgspec.Raw(package.report), "notes": notes}
    created: dict[str, Any] = api.post(f"models/{package.manifest.model}/versions", body)
    return created
