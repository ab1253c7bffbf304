"""The whole document that the controller wants true on one device: retained, never a delta.

Ordered by (epoch, generation): a document that is not newer than the last one accepted is ignored.
"""

from typing import Annotated

import msgspec

from wherry.protocol.blob import BlobRef
from wherry.protocol.types import Digest, Message, Name, Ordinal, Struct, VersionRef


class Assignment(Struct, frozen=True, kw_only=True):
    """Which version a slot is to run. `manifest` is a single block, to be fetched first.

    `artifact` repeats the digest of the variant, so that a quarantined one is refused before
    anything is fetched.
    """

    slot: Name
    model: Name
    version: Annotated[int, msgspec.Meta(ge=1)]
    variant: Name
    manifest: BlobRef
    artifact: Digest

    @property
    def ref(self) -> VersionRef:
        return VersionRef(
            model=self.model,
            version=self.version,
            variant=self.variant,
            manifest=self.manifest.digest,
            artifact=self.artifact,
        )


class Desired(Message, frozen=True, kw_only=True, tag="desired"):
    """`artifacts_url` is where blobs can be had over HTTP: `{artifacts_url}/{digest}`, with Range."""

    epoch: Ordinal
    generation: Ordinal
    slots: Annotated[tuple[Assignment, ...], msgspec.Meta(max_length=16)] = ()
    artifacts_url: Annotated[str, msgspec.Meta(max_length=500)] | None = None
