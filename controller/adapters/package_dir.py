"""The package that a conversion has left in a directory, read and checked before anything is done with it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from wherry.controller.errors import Invalid
from wherry.protocol.blob import BlobRef
from wherry.protocol.errors import MessageError
from wherry.protocol.manifest import Manifest, decode_manifest
from wherry.protocol.types import Struct


class Package(Struct, frozen=True, kw_only=True):
    """`blobs` are the files that the manifest names; `report` is JSON."""

    manifest: Manifest
    blobs: tuple[tuple[BlobRef, Path], ...]
    report: bytes


def read_package(directory: Path) -> Package:
    """Raises Invalid, naming the file that is wrong."""
    manifest = _manifest(directory)
    blobs = tuple(_blobs(directory, manifest))
    report = _read(directory / "report.json")
    try:
        msgspec.json.decode(report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{directory / 'report.json'} is damaged: {error}", "convert the model again") from error
    return Package(manifest=manifest, blobs=blobs, report=report)


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
