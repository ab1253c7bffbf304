"""The package that a conversion has left in a directory, read and checked before anything is done with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from wherry.controller.errors import Invalid
from wherry.protocol.blob import BlobRef, describe
from wherry.protocol.errors import MessageError
from wherry.protocol.manifest import Manifest, decode_manifest
from wherry.protocol.types import Struct


class Package(Struct, frozen=True, kw_only=True):
    """`blobs` are the files that the manifest names, and the report's page where there is one.

    `report` is JSON, whose `page` is the digest of that page: so the page stays with the version.
    """

    manifest: Manifest
    blobs: tuple[tuple[BlobRef, Path], ...]
    report: bytes


def read_package(directory: Path) -> Package:
    """Raises Invalid, naming the file that is wrong."""
    manifest = _manifest(directory)
    blobs = tuple(_blobs(directory, manifest))
    report = _report(directory)
    page = directory / "report.html"
    if page.is_file() and page.stat().st_size:
        ref = describe(_read(page))
        blobs, report = (*blobs, (ref, page)), {**report, "page": ref.digest}
    return Package(manifest=manifest, blobs=blobs, report=msgspec.json.encode(report))


def _report(directory: Path) -> dict[str, Any]:
    """Without a `page` that was said before: only the one beside it counts."""
    path = directory / "report.json"
    try:
        report = msgspec.json.decode(_read(path), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{path} is damaged: {error}", "convert the model again") from error
    report.pop("page", None)
    return report


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
