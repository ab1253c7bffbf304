"""Verified blobs, immutable, named by their digest."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from wherry.agent.adapters.store.durable import disk_errors, remove_others, sync_directory
from wherry.agent.errors import DamagedBlob
from wherry.protocol.blob import sha256

READ_ONLY = 0o444


class Blobs:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, digest: str) -> Path:
        return self._directory / digest

    def has(self, digest: str) -> bool:
        """Raises StoreError where the disk does not say."""
        with disk_errors("looking for a blob"):
            return self.path(digest).exists()

    def adopt(self, part: Path, digest: str) -> None:
        """Make a complete and verified part a blob. Raises StoreError."""
        with disk_errors("keeping a blob"):
            part.chmod(READ_ONLY)
            handle = os.open(part, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            part.rename(self.path(digest))
            sync_directory(self._directory)
            sync_directory(part.parent)

    def read(self, digest: str) -> bytes:
        """The bytes, verified. Raises DamagedBlob, or StoreError where it is not there."""
        with disk_errors(f"reading blob {digest[:12]}"):
            data = self.path(digest).read_bytes()
        if sha256(data) != digest:
            raise DamagedBlob(digest)
        return data

    def open_verified(self, digest: str) -> int:
        """An open file, at its beginning, whose bytes were just read and found right; the caller closes it.

        Raises as `read` does.
        """
        with disk_errors(f"reading blob {digest[:12]}"), self.path(digest).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise DamagedBlob(digest)
            file.seek(0)
            return os.dup(file.fileno())

    def discard(self, digest: str) -> None:
        """Raises StoreError."""
        with disk_errors("removing a blob"):
            self.path(digest).unlink(missing_ok=True)

    def sweep(self, keep: Iterable[str]) -> int:
        """Remove every other blob and what was cut short; how many files went. Raises StoreError."""
        with disk_errors("collecting garbage"):
            return remove_others(self._directory, keep)
