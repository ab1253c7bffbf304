"""What passes gave, kept by content: a directory of entries that may be deleted at any time.

Rules upheld here:
- An entry appears whole or not at all, and is held against its own digests whenever it is found.
- Entries are deleted, the longest unused first, only while no conversion uses the cache.
- Without a directory nothing is kept; a full or read-only disk costs time, not the conversion.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import msgspec

from wherry.protocol import blob

MAX_BYTES = 4 * 1024**3
_SUMS = "sums.json"
_LOCK = "lock"


class Cache:
    """Found by key under `root`; None keeps nothing."""

    def __init__(self, root: Path | None, max_bytes: int = MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes

    def find(self, key: str) -> Path | None:
        """The directory of the entry, unless it is missing or not what was kept."""
        if self._root is None:
            return None
        entry = self._root / key
        try:
            sums = msgspec.json.decode((entry / _SUMS).read_bytes(), type=dict[str, str])
            whole = all(content_digest(entry / name) == digest for name, digest in sums.items())
            if whole:
                os.utime(entry)
                return entry
        except (OSError, msgspec.DecodeError):
            pass
        shutil.rmtree(entry, ignore_errors=True)
        return None

    def keep(self, key: str, made: Path) -> Path:
        """Copy the files of the directory `made` into the cache; what lies in its folders was for the pass alone."""
        if self._root is None:
            return made
        entry = self._root / key
        staged: Path | None = None
        try:
            staged = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
            for file in made.iterdir():
                if file.is_file():
                    shutil.copy2(file, staged)
            sums = {path.name: content_digest(path) for path in staged.iterdir()}
            (staged / _SUMS).write_bytes(msgspec.json.encode(sums))
            staged.rename(entry)
        except OSError:  # no space, or somebody else was first
            if staged is not None:
                shutil.rmtree(staged, ignore_errors=True)
        return made

    @contextmanager
    def opened(self) -> Iterator["Cache"]:
        """Used within this block; afterwards what is too much is deleted."""
        if self._root is None:
            yield self
            return
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield Cache(None)
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield self
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _prune(self._root, self._max_bytes)
        finally:
            os.close(handle)


def content_digest(path: Path) -> str:
    """SHA-256 of a file, or of a directory's files with their names."""
    if not path.is_dir():
        stat = path.stat()
        return _file_digest(path, stat.st_mtime_ns, stat.st_size)
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    told = [f"{file.relative_to(path)} {content_digest(file)}" for file in inside]
    return blob.sha256("\n".join(told).encode())


@lru_cache(maxsize=4096)
def _file_digest(path: Path, _changed_ns: int, _size_bytes: int) -> str:
    return blob.sha256(path.read_bytes())


def _prune(root: Path, max_bytes: int) -> None:
    """Delete half-made entries, and the longest unused beyond `max_bytes`."""
    entries = []
    for entry in root.iterdir():
        if entry.name.startswith(".new-"):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.is_dir():
            size = sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
            entries.append((entry.stat().st_mtime, size, entry))
    total = sum(size for _, size, _ in entries)
    for _, size, entry in sorted(entries):
        if total <= max_bytes:
            return
        shutil.rmtree(entry, ignore_errors=True)
        total -= size
