"""A converted package on its way to the controller: checked here, uploaded, registered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from wherry.controller.cli.api import Api
from wherry.controller.errors import Invalid
from wherry.protocol.blob import BlobRef
from wherry.protocol.errors import MessageError
from wherry.protocol.manifest import Manifest, decode_manifest


def add_package(api: Api, directory: Path, notes: str = "") -> dict[str, Any]:
    """Upload the blobs and register the version. Raises Invalid, with nothing uploaded, for a wrong package."""
    manifest = _manifest(directory)
    blobs = list(_blobs(directory, manifest))
    report = _read(directory / "report.json")
    try:
        body = {"manifest": manifest, "report": msgspec.json.decode(report), "notes": notes}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{directory / 'report.json'} is damaged: {error}", "convert the model again") from error
    for ref, file in blobs:
        api.put_file(f"artifacts/{ref.digest}", file)
    created: dict[str, Any] = api.post(f"models/{manifest.model}/versions", body)
    return created


def _manifest(directory: Path) -> Manifest:
    path = directory / "manifest.json"
    try:
        return decode_manifest(_read(path))
    except MessageError as error:
        raise Invalid(f"{path} is not a manifest: {error}", "convert the model again") from error


def _blobs(directory: Path, manifest: Manifest) -> Iterator[tuple[BlobRef, Path]]:
    for variant in manifest.variants:
        for ref, suffix in ((variant.artifact, "tflite"), (variant.golden, "golden")):
            path = directory / f"{variant.name}.{suffix}"
            size_bytes = len(_read(path))
            if size_bytes != ref.size_bytes:
                raise Invalid(
                    f"{path} has {size_bytes} bytes where the manifest says {ref.size_bytes}", "convert the model again"
                )
            yield ref, path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(
            f"{path}: {error.strerror or error}", "name a directory that `wherry convert` has made"
        ) from error
