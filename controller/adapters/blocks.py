"""Blobs on the broker: every block of a needed blob retained under its own topic.

Rules upheld here:
- A blob is published once a connection, since a broker may have lost what it retained.
- Before the first block goes out a marker is left on disk, so that a controller that was killed
  knows what to clear; the marker goes when all topics of the blob are cleared.
- A block, or list of hashes, that a device found damaged is published again, but not more often
  than once a second.
- Nothing that a device says, and no blob that the disk lost, holds up the other blobs.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import structlog

from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.broker_session import BrokerSession
from wherry.controller.errors import NotFound, Unavailable
from wherry.protocol import limits, topics
from wherry.protocol.blob import BlobRef
from wherry.protocol.types import is_digest

REPAIR_PAUSE_S = 1.0
RETRY_PAUSE_S = 30.0
"""Before a blob that the disk does not give is tried again."""

_log = structlog.get_logger(__name__)


class BlockPublisher:
    """Keeps the broker's blocks equal to what is needed; one task at a time may call it."""

    def __init__(self, store: ArtifactStore, session: BrokerSession, fleet: str, markers: Path) -> None:
        self._store = store
        self._session = session
        self._fleet = fleet
        self._markers = markers
        self._connection = -1
        self._published: set[str] = set()
        self._repaired_s: dict[tuple[str, int | None], float] = {}
        self._failed_s: dict[str, float] = {}
        markers.mkdir(parents=True, exist_ok=True)

    @property
    def published(self) -> frozenset[str]:
        """The digests whose blocks this connection's broker has; none before `sync` has begun on it."""
        current = self._session.connected and self._connection == self._session.connections
        return frozenset(self._published if current else ())

    async def sync(self, needed: Sequence[BlobRef]) -> None:
        """Publish what is needed and missing, clear what is not needed. Raises Unavailable without a broker."""
        if self._connection != self._session.connections:
            self._connection = self._session.connections
            self._published.clear()
        wanted = {ref.digest: ref for ref in needed}
        for digest in wanted.keys() - self._published:
            if time.monotonic() - self._failed_s.get(digest, -RETRY_PAUSE_S) >= RETRY_PAUSE_S:
                await self._publish(wanted[digest])
        for marker in self._leftovers(wanted):
            await self._clear(marker)

    async def repair(self, digest: str, index: int | None) -> bool:
        """Publish one block again, or the list of hashes (None).

        False where it was just done, or there is no such thing on the broker, or not on disk any more.
        Raises Unavailable without a broker.
        """
        now_s = time.monotonic()
        last_s = self._repaired_s.get((digest, index), -REPAIR_PAUSE_S)
        if digest not in self._published or now_s - last_s < REPAIR_PAUSE_S:
            return False
        try:
            payload = await asyncio.to_thread(self._read, digest, index)
        except (NotFound, Unavailable, OSError) as error:
            _log.error("a damaged block cannot be published again", digest=digest, block=index, error=str(error))
            return False
        if not payload:
            return False
        self._repaired_s[digest, index] = now_s
        topic = topics.hashes(self._fleet, digest) if index is None else topics.block(self._fleet, digest, index)
        await self._session.publish(topic, payload, retain=True)
        _log.info("a damaged block was published again", digest=digest[:12], block=index)
        return True

    def _read(self, digest: str, index: int | None) -> bytes:
        """Empty where the blob has no such block, or needs no list."""
        if index is not None:
            return self._store.block(digest, index)
        return self._store.hash_list(digest) if self._store.ref(digest).hashes is not None else b""

    async def _publish(self, ref: BlobRef) -> None:
        try:
            await asyncio.to_thread(self._store.verify, ref.digest)
            (self._markers / ref.digest).write_text(str(ref.size_bytes))
        except (NotFound, Unavailable, OSError) as error:
            self._failed_s[ref.digest] = time.monotonic()
            _log.error("an artifact cannot be published", digest=ref.digest, error=str(error))
            return
        await self._session.publish_retained(self._messages(ref))
        self._published.add(ref.digest)
        _log.info("published the blocks of an artifact", digest=ref.digest[:12], blocks=ref.block_count)

    def _messages(self, ref: BlobRef) -> Iterator[tuple[str, bytes]]:
        if ref.hashes is not None:
            yield topics.hashes(self._fleet, ref.digest), self._store.hash_list(ref.digest)
        for index, block in enumerate(self._store.blocks(ref.digest)):
            yield topics.block(self._fleet, ref.digest, index), block

    def _leftovers(self, wanted: Iterable[str]) -> list[Path]:
        keep = set(wanted)
        return [path for path in self._markers.iterdir() if is_digest(path.name) and path.name not in keep]

    async def _clear(self, marker: Path) -> None:
        digest, size_bytes = marker.name, int(marker.read_text() or 0)
        names = [topics.hashes(self._fleet, digest)] if size_bytes > limits.BLOCK_BYTES else []
        names += [topics.block(self._fleet, digest, i) for i in range(-(-size_bytes // limits.BLOCK_BYTES))]
        await self._session.publish_retained((name, b"") for name in names)
        marker.unlink()
        self._published.discard(digest)
        self._repaired_s = {key: at_s for key, at_s in self._repaired_s.items() if key[0] != digest}
        _log.info("cleared the blocks of an artifact", digest=digest[:12])
