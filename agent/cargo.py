"""Brings the files of an attempt on board: the manifest, then the artifact and its golden vectors.

Rules upheld here:
- What is on disk already is not fetched again.
- Nothing large is asked for before the manifest said that the version can run here.
- A blob is put in place only when its whole digest is right.
"""

from collections.abc import Callable

from wherry.agent.adapters.http_blocks import HttpBlock
from wherry.agent.core import preflight
from wherry.agent.core.announce import Notice
from wherry.agent.core.preflight import Board
from wherry.agent.core.record import Attempt
from wherry.agent.core.slot import SlotEvent
from wherry.agent.errors import StoreError
from wherry.agent.fetch import Fetch
from wherry.agent.services import Services
from wherry.agent.timers import Timer
from wherry.protocol.blob import BlobRef
from wherry.protocol.manifest import Variant
from wherry.protocol.topics import BlockTopic


class Cargo:
    """The downloads of one slot. Tells what came of them by `happen`."""

    def __init__(
        self, services: Services, *, happen: Callable[[SlotEvent], None], note: Callable[[Notice], None]
    ) -> None:
        self._services, self._happen, self._note = services, happen, note
        self._fetch: Fetch | None = None
        self._verified: Timer | None = None

    def fetch_manifest(self, attempt: Attempt) -> None:
        """Then judge whether the version can run here: `fits` or `unfit`."""
        manifest = attempt.wish.assignment.manifest
        if manifest.hashes is not None:
            self._happen(SlotEvent("unfit", "the manifest is larger than one block"))
            return
        try:
            is_here = self._services.store.blobs.has(manifest.digest)
        except StoreError as error:
            self._happen(SlotEvent("unfetchable", str(error)))
            return
        if is_here:
            self._judge(attempt)
        else:
            self._start(manifest, lambda: self._keep_manifest(attempt))

    def fetch_blobs(self, attempt: Attempt) -> None:
        """Then `fetched`, or `unfetchable`."""
        try:
            missing = [ref for ref in self._blobs(attempt) if not self._services.store.blobs.has(ref.digest)]
        except StoreError as error:
            self._happen(SlotEvent("unfetchable", str(error)))
            return
        self._fetch_next(missing)

    def verify(self, attempt: Attempt) -> None:
        """Check the digest of each blob, and put those that were fetched in place: `verified` or `corrupt`.

        What follows reads the same bytes again: not before what else is due, such as a heartbeat, was done.
        """
        try:
            for ref in self._blobs(attempt):
                self._adopt(ref)
        except StoreError as error:
            self._happen(SlotEvent("corrupt", str(error)))
        else:
            self._verified = self._services.timers.after(0.0, lambda: self._happen(SlotEvent("verified")))

    def drop(self) -> None:
        """Stop, and sweep what only the attempt needed; the record no longer names it."""
        self.pause()
        self.sweep()

    def sweep(self) -> None:
        """Collect garbage. What cannot be removed now is tried again after the next attempt."""
        try:
            self._services.store.collect_garbage()
        except StoreError as error:
            self._services.log.warning("garbage stays", reason=str(error))

    def pause(self) -> None:
        """Stop asking; parts stay as they are."""
        if self._verified is not None:
            self._verified.cancel()
            self._verified = None
        if self._fetch is not None:
            self._fetch.stop()
            self._fetch = None

    def arrived(self, topic: BlockTopic, payload: bytes) -> None:
        if self._fetch is not None and self._fetch.ref.digest == topic.digest:
            self._fetch.arrived(topic.index, payload)

    def http_answered(self, answer: HttpBlock) -> None:
        if self._fetch is not None and self._fetch.ref.digest == answer.digest:
            self._fetch.http_answered(answer)

    def connected(self) -> None:
        if self._fetch is not None:
            self._fetch.reconnected()

    def disconnected(self) -> None:
        if self._fetch is not None:
            self._fetch.disconnected()

    def _start(self, ref: BlobRef, then: Callable[[], None]) -> None:
        def done(reason: str | None) -> None:
            self._fetch = None
            if reason is None:
                then()
            else:
                self._happen(SlotEvent("unfetchable", reason))

        self.pause()
        url = self._services.store.record.artifacts_url
        self._fetch = Fetch(self._services, ref, url, on_done=done, on_note=self._note)
        self._fetch.start()

    def _keep_manifest(self, attempt: Attempt) -> None:
        try:
            self._adopt(attempt.wish.assignment.manifest)
        except StoreError as error:
            self._happen(SlotEvent("unfetchable", str(error)))
        else:
            self._judge(attempt)

    def _judge(self, attempt: Attempt) -> None:
        """The preflight."""
        try:
            reason = self._unfit(attempt)
        except StoreError as error:
            reason = str(error)
            self._discard(attempt.ref.manifest)  # damaged, or not a manifest
        self._happen(SlotEvent("fits") if reason is None else SlotEvent("unfit", reason))

    def _discard(self, digest: str) -> None:
        try:
            self._services.store.blobs.discard(digest)
        except StoreError as error:
            self._services.log.warning("a useless blob stays", reason=str(error))

    def _unfit(self, attempt: Attempt) -> str | None:
        variant = self._variant(attempt)
        return variant if isinstance(variant, str) else preflight.check(variant, self._board(attempt))

    def _board(self, attempt: Attempt) -> Board:
        store, limits = self._services.store, self._services.config.artifacts
        missing = [ref for ref in self._blobs(attempt) if not store.blobs.has(ref.digest)]
        return Board(
            runtimes=self._services.runtimes,
            disk_free_bytes=store.free_bytes(),
            disk_reserve_bytes=limits.disk_reserve_bytes,
            ram_available_bytes=self._services.metrics.read(None).ram_available_bytes,
            ram_reserve_bytes=limits.ram_reserve_bytes,
            max_artifact_bytes=limits.max_bytes,
            to_fetch_bytes=sum(max(0, ref.size_bytes - store.parts.held_bytes(ref.digest)) for ref in missing),
        )

    def _fetch_next(self, missing: list[BlobRef]) -> None:
        if missing:
            self._start(missing[0], lambda: self._fetch_next(missing[1:]))
        else:
            self._happen(SlotEvent("fetched"))

    def _adopt(self, ref: BlobRef) -> None:
        """Raises StoreError where the bytes are not those of `ref`; they are removed then."""
        store = self._services.store
        if store.blobs.has(ref.digest):
            return  # verified when it was put there, and again before it runs
        part = store.parts.open(ref)
        try:
            whole = part.is_whole()
        finally:
            part.close()
        if not whole:
            store.parts.discard(ref.digest)
            raise StoreError(f"blob {ref.digest[:12]} does not have its digest although every block arrived")
        store.blobs.adopt(part.path, ref.digest)

    def _variant(self, attempt: Attempt) -> Variant | str:
        manifest = self._services.store.manifest(attempt.ref.manifest)
        return preflight.find_variant(manifest, attempt.ref.variant, attempt.ref.artifact)

    def _blobs(self, attempt: Attempt) -> tuple[BlobRef, ...]:
        variant = self._variant(attempt)
        if isinstance(variant, str):
            raise StoreError(variant)
        return variant.artifact, variant.golden
