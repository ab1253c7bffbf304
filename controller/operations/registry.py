"""Models and their immutable, numbered versions."""

from collections.abc import Callable

from wherry.controller.store.database import Database
from wherry.protocol.blob import BlobRef
from wherry.protocol.manifest import Manifest
from wherry.protocol.types import Struct


class ModelView(Struct, frozen=True, kw_only=True):
    name: str
    created_s: float
    versions: tuple[int, ...]


class VersionView(Struct, frozen=True, kw_only=True):
    """`manifest` is the numbered one, whose bytes `manifest_ref` addresses. `report` is the converter's JSON."""

    model: str
    number: int
    manifest: Manifest
    manifest_ref: BlobRef
    report: bytes
    notes: str
    created_s: float
    created_by: str
    created: bool = False

    def __str__(self) -> str:
        return f"{self.model}:{self.number}"


def add_blob(db: Database, ref: BlobRef, *, now_s: float) -> None:
    """Record that the artifact store holds the blob. Idempotent. Do this before `create_version`."""
    raise NotImplementedError


def find_blob(db: Database, digest: str) -> BlobRef:
    """Raises NotFound where the artifact store was never given the blob."""
    raise NotImplementedError


def create_version(
    db: Database,
    manifest: Manifest,
    *,
    report: bytes,
    keep: Callable[[bytes], object],
    now_s: float,
    actor: str,
    notes: str = "",
) -> VersionView:
    """Give the manifest (with version 0) the next number of its model, and make the model where it is new.

    `keep` is given the numbered manifest's bytes and must have stored them durably, under their
    digest, when it returns; it is called before the commit, so that a version whose manifest is
    missing cannot exist. Idempotent: the same content comes back as the version that it already is,
    with `created` False. Raises Invalid where a blob that it names was not added.
    """
    raise NotImplementedError


def list_models(db: Database) -> list[ModelView]:
    """By name; versions ascending."""
    raise NotImplementedError


def get_version(db: Database, text: str) -> VersionView:
    """`digits:3`, or `digits` for the newest. Raises Invalid or NotFound."""
    raise NotImplementedError
