"""Blobs on their way, of their final size from the start, filled block by block in any order.

There is no note of which blocks are there: on resuming, every block is compared with its hash. So
a torn write costs that block and nothing can be believed that is not so. Only a file that was made
just now is known to hold nothing, and is not read.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from wherry.agent.adapters.store.durable import disk_errors, remove_others
from wherry.protocol.blob import BlobRef
from wherry.protocol.limits import BLOCK_BYTES


class Part:
    """One file under `parts/`. All methods raise StoreError where the disk fails."""

    def __init__(self, path: Path, ref: BlobRef) -> None:
        self.path = path
        self.ref = ref
        with disk_errors("opening a download"):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._is_new = os.fstat(self._handle).st_size == 0
                os.ftruncate(self._handle, ref.size_bytes)
            except OSError:
                os.close(self._handle)
                raise

    def verified(self, hashes: Sequence[str]) -> int:
        """The bitmap of the blocks whose bytes have the hash that they should have."""
        have = 0
        if self._is_new:
            return have
        for index, expected in enumerate(hashes):
            if hashlib.sha256(self._read(index)).hexdigest() == expected:
                have |= 1 << index
        return have

    def write(self, index: int, block: bytes) -> None:
        """Never outside of the announced size: a block has its place and its length, or there is a bug here."""
        start = index * BLOCK_BYTES
        assert 0 <= index < self.ref.block_count, f"block {index} of a blob of {self.ref.block_count}"
        assert len(block) == self.ref.block_size_bytes(index), "a block is of its size"
        self._is_new = False
        written = 0
        with disk_errors("writing a download"):
            while written < len(block):  # a disk that fills takes a part, and says so at the next call
                written += os.pwrite(self._handle, block[written:], start + written)

    def is_whole(self) -> bool:
        """Whether all the bytes together have the blob's digest."""
        digest = hashlib.sha256()
        for index in range(self.ref.block_count):
            digest.update(self._read(index))
        return digest.hexdigest() == self.ref.digest

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _read(self, index: int) -> bytes:
        with disk_errors("reading a download"):
            return os.pread(self._handle, self.ref.block_size_bytes(index), index * BLOCK_BYTES)


class Parts:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, ref: BlobRef) -> Part:
        return Part(self._directory / ref.digest, ref)

    def held_bytes(self, digest: str) -> int:
        """Disk that a part takes already (its holes do not count)."""
        try:
            return (self._directory / digest).stat().st_blocks * 512
        except OSError:
            return 0

    def sweep(self, keep: Iterable[str] = ()) -> int:
        """Remove every other part; how many went. Raises StoreError."""
        with disk_errors("sweeping downloads"):
            return remove_others(self._directory, keep)

    def discard(self, digest: str) -> None:
        """Raises StoreError."""
        with disk_errors("removing a download"):
            (self._directory / digest).unlink(missing_ok=True)
