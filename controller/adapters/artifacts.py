"""The artifact store: immutable files named by their SHA-256 digest in one directory.

Rules upheld here:
- A file appears under its digest whole and verified, or not at all: written beside, hashed while
  written, fsynced, renamed, and the directory fsynced.
- Bytes are hashed again before they are published, since disks forget; so is the list of hashes.
- The list of block hashes lies beside as `<digest>.hashes`; it can always be made again. It goes first, so that
  none is left without its blob.
"""

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from wherry.controller.errors import Invalid, NotFound, Unavailable
from wherry.protocol import limits
from wherry.protocol.blob import BlobRef, sha256
from wherry.protocol.types import is_digest

INCOMING = ".incoming-"
LONGEST_UPLOAD_S = 24 * 3600.0


class ArtifactStore:
    """Blobs in `directory`, which is made where it is missing; what a killed upload left is swept.

    Where others use the directory, too, only what nobody can still be writing.
    """

    def __init__(self, directory: Path, *, shared: bool = False) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        newest_s = time.time() - LONGEST_UPLOAD_S if shared else math.inf
        for leftover in directory.glob(f"{INCOMING}*"):
            with suppress(FileNotFoundError):
                if leftover.stat().st_mtime < newest_s:
                    leftover.unlink()

    def path(self, digest: str) -> Path:
        """Where the blob lies. Raises NotFound where it does not."""
        path = self._directory / digest
        if not is_digest(digest) or not path.is_file():
            raise NotFound(f"no artifact {digest[:64]}", "upload it first: PUT /api/v1/artifacts/{digest}")
        return path

    def has(self, digest: str) -> bool:
        return is_digest(digest) and (self._directory / digest).is_file()

    def digests(self, older_than_s: float = 0.0) -> list[str]:
        """All blobs whose files have not been written in the last `older_than_s`."""
        newest_s = time.time() - older_than_s
        return sorted(
            path.name for path in self._directory.iterdir() if is_digest(path.name) and path.stat().st_mtime <= newest_s
        )

    def drop(self, digest: str) -> None:
        """Delete the blob; nothing where there is none. Only for what no row names (`operations.deletion`)."""
        if is_digest(digest):
            (self._directory / f"{digest}.hashes").unlink(missing_ok=True)
            (self._directory / digest).unlink(missing_ok=True)

    def receive(self, digest: str) -> "Upload":
        """Begin to take in the blob `digest`, to be used in a `with` block. Raises Invalid."""
        if not is_digest(digest):
            raise Invalid(f"{digest[:80]!r} is not a digest", "use the SHA-256 of the bytes, 64 lower case hex digits")
        return Upload(self._directory, digest)

    def put(self, data: bytes) -> BlobRef:
        """Keep `data`, which may be there already."""
        digest = sha256(data)
        with self.receive(digest) as upload:
            upload.write(data)
            upload.commit()
        return self.ref(digest)

    def ref(self, digest: str) -> BlobRef:
        """The reference to a kept blob. Raises NotFound."""
        size_bytes = self.path(digest).stat().st_size
        if size_bytes <= limits.BLOCK_BYTES:
            return BlobRef(digest=digest, size_bytes=size_bytes)
        return BlobRef(digest=digest, size_bytes=size_bytes, hashes=sha256(self.hash_list(digest)))

    def hash_list(self, digest: str) -> bytes:
        """The hashes of the blob's blocks, 32 bytes each; computed once and kept. Raises NotFound."""
        kept = self._directory / f"{digest}.hashes"
        size_bytes = self.path(digest).stat().st_size
        expected_bytes = -(-size_bytes // limits.BLOCK_BYTES) * limits.HASH_BYTES
        if kept.is_file() and kept.stat().st_size == expected_bytes:
            return kept.read_bytes()
        listed = b"".join(hashlib.sha256(block).digest() for block in self.blocks(digest))
        self._keep_list(digest, listed)
        return listed

    def blocks(self, digest: str) -> Iterator[bytes]:
        """The blob block by block. Raises NotFound."""
        with self.path(digest).open("rb") as file:
            while block := file.read(limits.BLOCK_BYTES):
                yield block

    def block(self, digest: str, index: int) -> bytes:
        """Block `index`; empty past the end. Raises NotFound, or Unavailable where the disk changed it."""
        size_bytes = self.path(digest).stat().st_size
        if index * limits.BLOCK_BYTES >= size_bytes:
            return b""
        with self.path(digest).open("rb") as file:
            file.seek(index * limits.BLOCK_BYTES)
            block = file.read(limits.BLOCK_BYTES)
        expected = bytes.fromhex(digest)
        if size_bytes > limits.BLOCK_BYTES:
            expected = self.hash_list(digest)[index * limits.HASH_BYTES :][: limits.HASH_BYTES]
        if hashlib.sha256(block).digest() != expected:
            raise _damaged(digest)
        return block

    def verify(self, digest: str) -> None:
        """Read and hash the blob once more, and make its list of hashes again where that has changed.

        Raises NotFound, or Unavailable where the disk changed the blob.
        """
        whole, listed = hashlib.sha256(), bytearray()
        for block in self.blocks(digest):
            whole.update(block)
            listed += hashlib.sha256(block).digest()
        if whole.hexdigest() != digest:
            raise _damaged(digest)
        if len(listed) > limits.HASH_BYTES and self.hash_list(digest) != listed:
            self._keep_list(digest, bytes(listed))

    def _keep_list(self, digest: str, listed: bytes) -> None:
        with Upload(self._directory, f"{digest}.hashes") as upload:
            upload.write(listed)
            upload.publish()


def _damaged(digest: str) -> Unavailable:
    return Unavailable(
        f"the artifact {digest} is damaged on disk", "delete that file in the data directory and upload it again"
    )


@contextmanager
def _keeping() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"cannot keep the artifact: {error.strerror}", "make room in the data directory, and see to its rights"
        ) from error


class Upload:
    """Bytes on their way into the store; what is not committed at the end of the block is dropped.

    Raises Unavailable where the disk does not take them.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.size_bytes = 0
        self._directory = directory
        self._name = name
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        with _keeping():
            self._file = tempfile.NamedTemporaryFile(dir=self._directory, prefix=INCOMING, delete=False)
        return self

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        with _keeping():
            self._file.write(chunk)
        self.size_bytes += len(chunk)

    def commit(self) -> None:
        """Keep what was written, if it is what was announced. Raises Invalid."""
        found = self._hash.hexdigest()
        if found != self._name:
            raise Invalid(
                f"the bytes have the digest {found}, not {self._name}", "send the bytes that the digest names"
            )
        if self.size_bytes == 0:
            raise Invalid("an artifact of no bytes", "send the bytes that the digest names")
        self.publish()

    def publish(self) -> None:
        """Make it durable under its name."""
        with _keeping():
            self._file.flush()
            os.fsync(self._file.fileno())
            Path(self._file.name).chmod(0o644)
            Path(self._file.name).replace(self._directory / self._name)
            self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what is still buffered for a full disk
            self._file.close()
        Path(self._file.name).unlink(missing_ok=True)
