"""Opens the directory, holds its lock, and joins its parts."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from wherry.agent.adapters.store.blobs import Blobs
from wherry.agent.adapters.store.durable import disk_errors
from wherry.agent.adapters.store.parts import Parts
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.adapters.store.spool import Spool
from wherry.agent.core.record import DeviceRecord
from wherry.agent.errors import StateDirInUse, StateDirUnusable, StoreError
from wherry.protocol.errors import ProtocolError
from wherry.protocol.manifest import Manifest, decode_manifest
from wherry.protocol.types import VersionRef


class Store:
    """One state directory. Raises a SetupError where it cannot be used; one that can only be read can be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stamp: Callable[[DeviceRecord], DeviceRecord] = lambda record: record
        try:
            for name in ("blobs", "parts", "events"):
                (directory / name).mkdir(parents=True, exist_ok=True)
            self._lock = _open_lock(directory / "lock")
        except OSError as error:
            raise StateDirUnusable(directory, error.strerror or str(error)) from error
        try:
            self._open(directory)
        except StoreError as error:
            os.close(self._lock)
            raise StateDirUnusable(directory, str(error)) from error
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, directory: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateDirInUse(directory) from error
        self._record_file = RecordFile(directory)
        self.record = self._record_file.load() or DeviceRecord()
        self.blobs = Blobs(directory / "blobs")
        self.parts = Parts(directory / "parts")
        self.events = Spool(directory / "events")

    @property
    def damaged_copies(self) -> tuple[str, ...]:
        """Names of the copies of the record that were found damaged when the store was opened."""
        return self._record_file.damaged

    def save(self, record: DeviceRecord) -> None:
        """Make `record` what counts, on disk, before anything acts on it. Raises StoreError.

        `stamp` adds what is worth keeping but no write of its own.
        """
        if record != self.record:
            record = self.stamp(record)
            self._record_file.save(record)
            self.record = record

    def manifest(self, digest: str) -> Manifest:
        """A manifest that is on disk, verified. Raises StoreError."""
        try:
            return decode_manifest(self.blobs.read(digest))
        except ProtocolError as error:
            raise StoreError(f"manifest {digest[:12]}: {error}") from error

    def free_bytes(self) -> int:
        """Raises StoreError."""
        with disk_errors("looking for free space"):
            found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def collect_garbage(self) -> int:
        """Remove what no slot of the saved record can come to need; how many files went. Raises StoreError.

        A record that has taken no document yet may be one whose copies were damaged: the next document is likely to
        name the same files again, and decides.
        """
        keep = {digest for slot in self.record.slots.values() for ref in slot.refs() for digest in self._files_of(ref)}
        if not keep and not self.record.has_taken_a_document:
            return 0
        return self.blobs.sweep(keep) + self.parts.sweep(keep)

    def clear(self) -> int:
        """Remove all files of versions, and the events; how many files went. Raises StoreError."""
        numbers = self.events.numbers()
        for number in numbers:
            self.events.remove(number)
        return len(numbers) + self.blobs.sweep(()) + self.parts.sweep()

    def _files_of(self, ref: VersionRef) -> Iterable[str]:
        yield ref.manifest
        yield ref.artifact
        try:
            variant = self.manifest(ref.manifest).variant(ref.variant)
        except StoreError:
            return  # not here yet, or damaged: then nothing else of it can be used either
        if variant is not None:
            yield variant.golden.digest

    def close(self) -> None:
        os.close(self._lock)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
