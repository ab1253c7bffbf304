"""Everything that goes up: what must arrive is kept on disk or retained, what may be lost is not.

Rules upheld here:
- An event is on disk before anything is done about sending it, and leaves when the controller says that it has it:
  a broker that was killed loses what it acknowledged. Until then it is sent again, which changes nothing there.
- An event that the disk does not take, give or let go is told of, and stops nothing else. One that it does not take
  is sent once, where the broker is there.
- At every connection: subscribe, then status, birth and reported, then the events in order.
- Nothing here waits for the network.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from wherry.agent.adapters.broker import Connected, Taken
from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.logs import LogBuffer
from wherry.agent.adapters.store.spool import Spool
from wherry.agent.core.announce import Notice
from wherry.agent.errors import StoreError
from wherry.protocol import topics
from wherry.protocol.codec import decode_up, encode
from wherry.protocol.down import Receipt
from wherry.protocol.errors import ProtocolError, TooLarge
from wherry.protocol.types import clip_reason
from wherry.protocol.up import Birth, Event, Log, Reported, Status, Telemetry

IN_FLIGHT = 16
"""Events that wait for their acknowledgement at the same time."""

SEND_AGAIN_S = 20.0
"""After which an event without a receipt is sent again on the same connection; each time after twice as long.

Where broker and controller went down together a device is often the first to be back, and what it sends then is
delivered to nobody: the events of a fleet are to be there again within a minute.
"""

SEND_AGAIN_LIMIT_S = 4 * 3600.0
"""The controller is away, or does not know our events: a full disk of them costs a few megabytes a day."""


class _Numbered(NamedTuple):
    """What names an event."""

    boot_id: str
    seq: int


class Link(Protocol):
    """What is needed of a broker session; see `adapters.broker.Broker`."""

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, expiry_s: int | None = None
    ) -> tuple[int, int] | None: ...

    def subscribe(self, topics: list[str], *, qos: int = 0) -> None: ...

    def unsubscribe(self, topics: list[str]) -> None: ...


class Outbox:
    def __init__(
        self,
        *,
        fleet: str,
        device: str,
        boot_id: str,
        link: Link,
        spool: Spool,
        clock: Clock,
        on_trouble: Callable[[str], None],
        chance: Callable[[], float],
    ) -> None:
        self._fleet, self._device, self._boot_id = fleet, device, boot_id
        self._link, self._spool, self._clock, self._on_trouble = link, spool, clock, on_trouble
        self._next_seq = 0
        self._batch = 0
        self._in_flight: set[tuple[int, int]] = set()
        self._only_written: deque[tuple[int, int] | None] = deque(maxlen=IN_FLIGHT)
        self._unconfirmed: dict[_Numbered, int] = {}
        self._chance = chance
        self._again_s = self._due_s = 0.0
        self._wait_again(SEND_AGAIN_S)
        self._last_sent = -1
        self.online = False

    def connected(self, at: Connected, birth: Birth, reported: Reported) -> None:
        """Say who is here and what is true, and go on with the events from the oldest."""
        self.online = True
        self._in_flight.clear()
        self._from_the_oldest()
        self._wait_again(SEND_AGAIN_S)
        self._link.subscribe([topics.all_down(self._fleet, self._device)], qos=1)
        self._retain("status", Status(presence="online", session=at.session))
        self._retain("birth", birth)
        self.report(reported)
        self._send_events()

    def disconnected(self) -> None:
        self.online = False

    def leave(self, session: int) -> None:
        """Say goodbye; the session ends without its will."""
        if self.online:
            self._retain("status", Status(presence="offline", session=session))

    def report(self, reported: Reported) -> None:
        self._retain("reported", reported)

    def note(self, notice: Notice, slot: str | None = None) -> None:
        """Give what happened its number and time, keep it on disk, and send it when there is room."""
        fields = {**msgspec.structs.asdict(notice), "reason": clip_reason(notice.reason)}
        event = Event(boot_id=self._boot_id, seq=self._next_seq, at_s=self._clock.wall_s(), slot=slot, **fields)
        self._next_seq += 1
        message = encode(event)
        try:
            if dropped := self._spool.add(message):
                self._on_trouble(f"{dropped} events dropped, so many wait")
        except StoreError as error:
            self._on_trouble(str(error))
            if self.online:
                self._link.publish(self._topic("event"), message, qos=1)
        self._send_events()

    def taken(self, taken: Taken) -> bool:
        """A message has gone; of an event, there is room for the next one. Whether the broker said so itself:
        what it does not acknowledge, QoS 0, has gone when it is written to a socket, behind which there may be nobody.
        """
        if taken.token in self._in_flight:
            self._in_flight.remove(taken.token)
            self._send_events()
            return True
        return taken.token not in self._only_written

    def confirmed(self, receipt: Receipt) -> None:
        """The controller has these events: forget them."""
        for seq in receipt.seqs:
            number = self._unconfirmed.pop(_Numbered(receipt.boot_id, seq), None)
            if number is not None:
                self._forget(number)
                self._again_s = SEND_AGAIN_S
                self._due_s = min(self._due_s, self._clock.now_s() + SEND_AGAIN_S)

    def send_again(self) -> None:
        """What was sent and not confirmed, from the oldest; called now and then."""
        if self.online and self._unconfirmed and not self._in_flight and self._clock.now_s() >= self._due_s:
            self._wait_again(min(SEND_AGAIN_LIMIT_S, 2 * self._again_s))
            self._from_the_oldest()
            self._send_events()

    def telemetry(self, telemetry: Telemetry, expiry_s: int) -> None:
        if self.online:
            token = self._link.publish(self._topic("telemetry"), encode(telemetry), expiry_s=expiry_s)
            self._only_written.append(token)

    def logs(self, buffer: LogBuffer) -> None:
        """Send a batch; while offline the buffer keeps the oldest lines and counts the rest."""
        if not self.online or not len(buffer):
            return
        lines, dropped = buffer.take()
        batch = Log(boot_id=self._boot_id, batch=self._batch, lines=lines, dropped=dropped)
        self._batch += 1
        try:
            self._only_written.append(self._link.publish(self._topic("log"), encode(batch)))
        except TooLarge as error:
            self._on_trouble(str(error))

    def _send_events(self) -> None:
        if not self.online:
            return
        for number in self._spool.numbers(after=self._last_sent):
            if len(self._in_flight) >= IN_FLIGHT or not self._send_event(number):
                return
            self._last_sent = number

    def _send_event(self, number: int) -> bool:
        """Whether to go on with the next one; one that cannot be read is tried again at the next connection."""
        try:
            message = self._spool.read(number)
            event = decode_up("event", message)
        except StoreError as error:
            self._on_trouble(str(error))
            return True
        except ProtocolError as error:  # nobody would read it, and so it would be sent for ever
            self._on_trouble(f"an event on disk is damaged, and dropped: {error}")
            self._forget(number)
            return True
        token = self._link.publish(self._topic("event"), message, qos=1)
        if token is None:
            return False
        self._in_flight.add(token)
        assert isinstance(event, Event), "decoded as one"
        self._unconfirmed[_Numbered(event.boot_id, event.seq)] = number
        return True

    def _wait_again(self, wait_s: float) -> None:
        """With chance: what lost its controller together must not send together."""
        self._again_s = wait_s
        self._due_s = self._clock.now_s() + wait_s * (0.5 + self._chance())

    def _from_the_oldest(self) -> None:
        self._last_sent = -1
        self._unconfirmed.clear()

    def _forget(self, number: int) -> None:
        try:
            self._spool.remove(number)
        except StoreError as error:
            self._on_trouble(str(error))

    def _retain(self, kind: topics.Up, message: Status | Birth | Reported) -> None:
        self._link.publish(self._topic(kind), encode(message), qos=1, retain=True)

    def _topic(self, kind: topics.Up) -> str:
        return topics.up(self._fleet, self._device, kind)
