"""Carries out the download plan of one blob: subscribes, writes verified blocks, turns to HTTP.

Rules upheld here:
- Only a block of the right length and hash is written, except where neither transport gives the list of hashes: then
  HTTP brings the blob whole, and its digest decides at the end.
- What is verified stays verified, whatever becomes of the transports.
- Every subscription and every request made here is taken back, whatever the end.
"""

from collections.abc import Callable

from wherry.agent.adapters.http_blocks import HttpBlock
from wherry.agent.adapters.store.parts import Part
from wherry.agent.core import download
from wherry.agent.core.announce import Notice
from wherry.agent.core.damage import Damage
from wherry.agent.core.download import Pace, Transfer, Transport
from wherry.agent.errors import StoreError
from wherry.agent.services import Services
from wherry.protocol import topics
from wherry.protocol.blob import BlobRef, parse_hash_list, sha256
from wherry.protocol.errors import Malformed

TICK_S = 0.5


class Fetch:
    """One blob. Calls `on_done(None)` once all blocks are on disk, `on_done(reason)` when it gives up."""

    def __init__(
        self,
        services: Services,
        ref: BlobRef,
        artifacts_url: str | None,
        *,
        on_done: Callable[[str | None], None],
        on_note: Callable[[Notice], None],
    ) -> None:
        self._services, self.ref, self._url = services, ref, artifacts_url
        self._on_done, self._on_note = on_done, on_note
        limits = services.config.artifacts
        self._pace = Pace(window_blocks=limits.window_blocks, stall_s=limits.stall_s, give_up_s=limits.give_up_s)
        self._hashes: tuple[str, ...] | None = None if ref.hashes else (ref.digest,)
        self._transfer: Transfer | None = None
        self._listing_since_s = self._started_s = services.clock.now_s()
        self._subscribed: set[str] = set()
        self._served: list[str] = []
        self._list_damaged: set[Transport] = set()
        self._damage = Damage()
        self._part: Part | None = None
        self._finished = False
        self._online = True
        self._timer = services.timers.after(TICK_S, self._tick)

    def start(self) -> None:
        """Begin, or go on with what an earlier attempt left in the part."""
        try:
            self._part = self._services.store.parts.open(self.ref)
            if self._hashes is None:
                self._ask_for_list()
            else:
                self._begin(self._hashes)
        except StoreError as error:
            self._finish(str(error))

    def arrived(self, index: int | None, payload: bytes) -> None:
        """A message on one of this blob's topics."""
        if self._finished:
            return
        if index is None:
            self._list_arrived(payload, "mqtt")
        elif self._hashes is not None and index < self.ref.block_count:
            self._block_arrived(index, payload, "mqtt")

    def http_answered(self, answer: HttpBlock) -> None:
        if self._finished:
            return
        if answer.data is None:
            self._refused(answer)
        elif answer.index is None:
            self._list_arrived(answer.data, "http")
        else:
            self._block_arrived(answer.index, answer.data, "http")

    def disconnected(self) -> None:
        self._online = False

    def reconnected(self) -> None:
        """A new session with the broker: ask again for what is on its way."""
        self._online = True
        self._services.link.unsubscribe(sorted(self._subscribed))  # the broker may remember them
        self._subscribed.clear()
        self._started_s = self._now_s()
        if self._hashes is None:
            self._ask_for_list()
        if self._transfer is not None:
            self._transfer = download.reconnected(self._transfer, self._now_s())
            self._plan()

    def stop(self) -> None:
        """Leave the part as it is; nothing is called any more."""
        self._finished = True
        self._timer.cancel()
        self._services.link.unsubscribe(sorted(self._subscribed))
        self._subscribed.clear()
        self._services.http.forget(self.ref.digest)
        if self._part is not None:
            self._part.close()

    def _tick(self) -> None:
        self._timer = self._services.timers.after(TICK_S, self._tick)
        hopeless = self._hopeless() if self._online else None
        if hopeless is not None:
            self._finish(hopeless)
            return
        if self._hashes is None and self._now_s() - self._listing_since_s > self._pace.stall_s:
            self._ask_for_list()
            if self._url:
                self._services.http.ask(self._url, self.ref, None)
        self._plan()

    def _hopeless(self) -> str | None:
        if self._transfer is not None:
            return download.hopeless(self._transfer, self._now_s(), self._pace)
        if self._now_s() - self._started_s > self._pace.give_up_s:
            return f"the list of block hashes did not arrive for {self._pace.give_up_s:g} s"
        return None

    def _ask_for_list(self) -> None:
        self._listing_since_s = self._now_s()
        self._subscribe([topics.hashes(self._services.config.fleet, self.ref.digest)])

    def _list_arrived(self, payload: bytes, transport: Transport) -> None:
        if self._hashes is not None:
            return
        try:
            hashes = parse_hash_list(self.ref, payload)
        except Malformed as error:
            self._services.log.warning("the list of block hashes is damaged", reason=str(error))
            self._note_list_damaged(transport)
            return
        self._served.append(topics.hashes(self._services.config.fleet, self.ref.digest))
        try:
            self._begin(hashes, transport)
        except StoreError as error:
            self._finish(str(error))

    def _note_list_damaged(self, transport: Transport) -> None:
        """Once over each: the other is asked, and in the end the blob comes whole."""
        if transport not in self._list_damaged:
            self._list_damaged.add(transport)
            self._on_note(Notice(kind="block-damaged", digest=self.ref.digest, block=None, transport=transport))
        if transport == "http":
            self._fetch_whole()
        elif self._url:
            self._services.http.ask(self._url, self.ref, None)

    def _refused(self, answer: HttpBlock) -> None:
        self._services.log.warning("a block over HTTP failed", block=answer.index, reason=answer.reason)
        if answer.index is None:
            self._fetch_whole()
        elif self._transfer is not None:
            self._transfer = download.request_failed(self._transfer, answer.index, self._now_s(), self._pace)

    def _fetch_whole(self) -> None:
        """Without a list every block counts as right until the digest of the whole says otherwise."""
        if self._transfer is None:
            self._transfer = download.begin(self.ref.block_count, 0, self._now_s(), "http")
        self._plan()

    def _begin(self, hashes: tuple[str, ...], turn: Transport = "mqtt") -> None:
        """Blocks come over the transport that gave the list."""
        assert self._part is not None, "opened at start"
        self._hashes = hashes
        self._transfer = download.begin(self.ref.block_count, self._part.verified(hashes), self._now_s(), turn)
        self._plan()

    def _block_arrived(self, index: int, block: bytes, transport: Transport) -> None:
        if self._transfer is None or self._part is None:
            return
        self._transfer, receipt = download.received(
            self._transfer, index, self._now_s(), self._pace, matches=self._matches(index, block), transport=transport
        )
        if receipt in ("duplicate", "unasked"):
            return
        if receipt == "damaged":
            if self._damage.is_worth_telling(index):
                self._on_note(Notice(kind="block-damaged", digest=self.ref.digest, block=index, transport=transport))
        else:
            try:
                self._part.write(index, block)
            except StoreError as error:
                self._finish(str(error))
                return
            self._served.append(topics.block(self._services.config.fleet, self.ref.digest, index))
        if receipt == "repaired" and self._damage.was_told(index):
            self._on_note(Notice(kind="block-repaired", digest=self.ref.digest, block=index, transport=transport))
        self._plan()

    def _matches(self, index: int, block: bytes) -> bool:
        """Whether it is the block; its length is looked at too, since whoever made the list may have lied."""
        if len(block) != self.ref.block_size_bytes(index):
            return False
        return self._hashes is None or sha256(block) == self._hashes[index]

    def _plan(self) -> None:
        if self._transfer is None or self._finished:
            return
        if self._transfer.complete:
            self._finish(None)
            return
        self._transfer, wants = download.plan(self._transfer, self._now_s(), self._pace, http=self._url is not None)
        if not wants:
            return
        self._unsubscribe_served()
        fleet, digest = self._services.config.fleet, self.ref.digest
        if self._hashes is not None:  # a block over MQTT cannot be judged without
            self._subscribe([topics.block(fleet, digest, want.index) for want in wants if want.transport == "mqtt"])
        for want in wants:
            if want.transport == "http" and self._url:
                self._services.http.ask(self._url, self.ref, want.index)

    def _subscribe(self, wanted: list[str]) -> None:
        self._services.link.subscribe(wanted)
        self._subscribed.update(wanted)

    def _unsubscribe_served(self) -> None:
        gone = [topic for topic in self._served if topic in self._subscribed]
        self._services.link.unsubscribe(gone)
        self._subscribed.difference_update(gone)
        self._served.clear()

    def _finish(self, reason: str | None) -> None:
        self.stop()
        if self._damage.untold:
            told = f"{self._damage.untold} more blocks arrived damaged"
            self._on_note(Notice(kind="error", digest=self.ref.digest, reason=told))
        self._on_done(reason)

    def _now_s(self) -> float:
        return self._services.clock.now_s()
