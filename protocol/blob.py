"""Blobs: bytes addressed by their SHA-256 digest, moved in blocks of 64 KiB.

A blob of more than one block has a list of block hashes, 32 raw bytes each, concatenated. The
digest of that list stands in whatever refers to the blob, so that every single block can be
verified on its own before it is kept.
"""

import hashlib
from typing import Annotated

import msgspec

from wherry.protocol import limits
from wherry.protocol.errors import Malformed, TooLarge
from wherry.protocol.types import Digest, Struct


class BlobRef(Struct, frozen=True, kw_only=True):
    """What is needed to fetch and verify a blob.

    `hashes` is the digest of the list of block hashes; None where the blob is a single block,
    which its own digest verifies.
    """

    digest: Digest
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_BLOB_BYTES)]
    hashes: Digest | None = None

    @property
    def block_count(self) -> int:
        return -(-self.size_bytes // limits.BLOCK_BYTES)

    def block_size_bytes(self, index: int) -> int:
        """Length of block `index`; only the last may be shorter than 64 KiB."""
        if not 0 <= index < self.block_count:
            raise IndexError(f"block {index} of a blob of {self.block_count}")
        return min(limits.BLOCK_BYTES, self.size_bytes - index * limits.BLOCK_BYTES)


def sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def split(data: bytes) -> list[bytes]:
    """Cut into blocks of 64 KiB; the last may be shorter."""
    return [data[i : i + limits.BLOCK_BYTES] for i in range(0, len(data), limits.BLOCK_BYTES)]


def hash_list(data: bytes) -> bytes:
    """The concatenated SHA-256 hashes of the blocks, 32 bytes each."""
    return b"".join(hashlib.sha256(block).digest() for block in split(data))


def describe(data: bytes) -> BlobRef:
    """Make the reference to `data`. Raises ValueError where it is empty, TooLarge over 2 GiB."""
    if not data:
        raise ValueError("an empty blob cannot be addressed")
    if len(data) > limits.MAX_BLOB_BYTES:
        raise TooLarge("blob", len(data), limits.MAX_BLOB_BYTES)
    hashes = sha256(hash_list(data)) if len(data) > limits.BLOCK_BYTES else None
    return BlobRef(digest=sha256(data), size_bytes=len(data), hashes=hashes)


def parse_hash_list(ref: BlobRef, raw: bytes) -> tuple[str, ...]:
    """Verify a received list of block hashes against `ref`; one hexadecimal digest a block."""
    if len(raw) != ref.block_count * limits.HASH_BYTES:
        raise Malformed(f"hash list of {len(raw)} bytes for {ref.block_count} blocks")
    if sha256(raw) != ref.hashes:
        raise Malformed("hash list does not match its digest")
    return tuple(raw[i : i + limits.HASH_BYTES].hex() for i in range(0, len(raw), limits.HASH_BYTES))
