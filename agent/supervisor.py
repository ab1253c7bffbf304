"""The supervisor: one thread, one inbox, and all the state of the agent.

Whatever happens elsewhere (the broker's thread, workers, HTTP, signals) is put into the inbox as a
value. One turn takes one value or runs what is due; nothing else touches the state.
"""

import queue

import msgspec

from wherry.agent.adapters.broker import Arrived, Connected, Disconnected, Taken
from wherry.agent.adapters.control import Asked
from wherry.agent.adapters.feeder_process import FeederEnded, FeederSaid
from wherry.agent.adapters.http_blocks import HttpBlock
from wherry.agent.adapters.http_upload import HttpUploaded
from wherry.agent.adapters.logs import LogBuffer
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerSaid
from wherry.agent.core.announce import Notice
from wherry.agent.core.boots import because, blame
from wherry.agent.core.desired import accept, is_newer, poisoned, set_aside, undertake
from wherry.agent.core.record import reported
from wherry.agent.crew import Crew
from wherry.agent.errors import StoreError
from wherry.agent.feeders import Feeders
from wherry.agent.heartbeat import Heartbeat
from wherry.agent.inspection import Inspection
from wherry.agent.orders import Orders
from wherry.agent.outbox import SEND_AGAIN_S, Outbox
from wherry.agent.services import Services
from wherry.agent.slot_runner import SlotRunner
from wherry.agent.steadiness import Steadiness
from wherry.agent.timekeeper import Timekeeper
from wherry.agent.uploads import Uploads
from wherry.protocol import topics
from wherry.protocol.blob import sha256
from wherry.protocol.codec import decode_down
from wherry.protocol.down import Action, Desired
from wherry.protocol.errors import ProtocolError
from wherry.protocol.topics import BlockTopic, DeviceTopic
from wherry.protocol.up import Birth, Reported

LOG_EVERY_S = 5.0
IDLE_S = 60.0


class Leave(msgspec.Struct, frozen=True):
    """Stop in good order."""


InboxEvent = (
    Connected
    | Disconnected
    | Arrived
    | Taken
    | WorkerSaid
    | WorkerEnded
    | FeederSaid
    | FeederEnded
    | HttpBlock
    | HttpUploaded
    | Asked
    | Leave
)
Inbox = queue.SimpleQueue[InboxEvent]


class Supervisor:
    """Call `start`, then `turn` until `leaving`, or `run`, which does both and `leave`s."""

    def __init__(self, services: Services, inbox: Inbox, outbox: Outbox, birth: Birth, logs: LogBuffer) -> None:
        self._services, self._inbox, self._outbox, self._birth, self._logs = services, inbox, outbox, birth, logs
        self._crew = Crew(services)
        self._session = 0
        self._reported: Reported | None = None
        self._refused: set[str] = set()
        self._timekeeper = Timekeeper(services)
        self._steadiness = Steadiness(services, self._timekeeper, try_again=self._try_again)
        self.leaving = False
        self.runners = {
            name: SlotRunner(
                services, self._crew, outbox, name, birth.boot_id, on_change=self._report, on_watch=self._say_again
            )
            for name in services.config.slots
        }
        self._feeders = Feeders(services, lambda slot, remark: self.runners[slot].feed_remarked(remark))
        self._uploads = Uploads(services)
        self._inspection = Inspection(services, self.runners, birth, logs, online=lambda: outbox.online)
        self._heartbeat = Heartbeat(services, pulses=self._inspection.pulses, status=self._inspection.text)
        self._orders = Orders(
            services, self._crew, outbox, self.runners, self._uploads,
            collect=self._inspection.collect, on_change=self._report, wall_s=self._timekeeper.wall_s,
        )  # fmt: skip

    def start(self) -> None:
        """Sweep, say that the agent started, and let every slot go on from what is on disk."""
        if remarks := self._remarks():
            self._services.log.warning("started", reason=remarks)
        self._outbox.note(Notice(kind="started", reason=remarks))
        self._steadiness.begin()
        self._timekeeper.begin()
        next(iter(self.runners.values())).cargo.sweep()
        for runner in self.runners.values():
            runner.boot()
        self._feeders.start()
        self._telemetry_due()
        self._logs_due()
        self._events_due()

    def _try_again(self) -> None:
        for runner in self.runners.values():
            runner.try_again()

    def _remarks(self) -> str:
        """What is worth saying of this start."""
        damaged, unsteady = ", ".join(self._services.store.damaged_copies), self._services.store.record.unsteady_boots
        remarks = [f"damaged copies of the state record: {damaged}"] if damaged else []
        remarks += [because(unsteady)] if blame(unsteady) != "nothing" else []
        return "; ".join(remarks)

    def run(self) -> None:
        self.start()
        self._heartbeat.start()
        while not self.leaving:
            self.turn(IDLE_S)
        self.leave()

    def turn(self, limit_s: float) -> bool:
        """Wait `limit_s` for an event or a timer; handle all events that wait, then what is due. Whether an event came.

        In this order, so that after a turn that took long nobody counts as silent who has spoken meanwhile.
        """
        try:
            events = [self._inbox.get(timeout=self._services.timers.wait_s(limit_s))]
        except queue.Empty:
            events = []
        events += [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
        for event in events:
            self._handle(event)
        self._services.timers.run_due()
        return bool(events)

    def leave(self) -> None:
        """Say goodbye, stop asking, and let the workers drain; those that do not are killed.

        All leave at the same time: workers have `worker.stop_limit_s`, and feeders their grace within it.
        """
        self._heartbeat.stop()
        self._steadiness.leave()
        self._outbox.leave(self._session)
        for runner in self.runners.values():
            runner.cargo.pause()
        self._feeders.stop()
        self._crew.stop()
        deadline_s = self._services.clock.now_s() + self._services.config.worker.stop_limit_s
        while len(self._crew) and (left_s := deadline_s - self._services.clock.now_s()) > 0:
            try:
                event = self._inbox.get(timeout=left_s)
            except queue.Empty:
                break
            if isinstance(event, WorkerSaid | WorkerEnded):
                self._crew.heard(event)
        self._crew.kill()
        self._feeders.close()

    def _handle(self, event: InboxEvent) -> None:
        match event:
            case Arrived():
                self._arrived(event)
            case WorkerSaid() | WorkerEnded() | FeederSaid() | FeederEnded():
                self._child_spoke(event)
            case Taken():
                self._taken(event)
            case HttpBlock():
                self._http_answered(event)
            case HttpUploaded():
                self._uploads.http_answered(event)
            case Asked():
                self._inspection.answer(event)
            case Connected():
                self._connected(event)
            case Disconnected():
                self._disconnected(event)
            case Leave():
                self.leaving = True

    def _child_spoke(self, event: WorkerSaid | WorkerEnded | FeederSaid | FeederEnded) -> None:
        if isinstance(event, FeederSaid | FeederEnded):
            self._feeders.heard(event)
        else:
            self._crew.heard(event)

    def _http_answered(self, event: HttpBlock) -> None:
        for runner in self.runners.values():
            runner.cargo.http_answered(event)

    def _connected(self, event: Connected) -> None:
        self._services.log.info("connected", session=event.session, protocol=f"MQTT {event.protocol}")
        self._session = event.session
        self._reported = self._make_report()
        self._outbox.connected(event, self._birth, self._reported)
        self._uploads.connected()
        self._reached()
        for runner in self.runners.values():
            runner.cargo.connected()

    def _disconnected(self, event: Disconnected) -> None:
        self._services.log.warning("no broker", reason=event.reason, retry_s=round(event.retry_s, 1))
        self._outbox.disconnected()
        self._uploads.disconnected()
        for runner in self.runners.values():
            runner.cargo.disconnected()

    def _taken(self, event: Taken) -> None:
        if self._outbox.taken(event):
            self._reached()
        self._uploads.taken(event)

    def _reached(self) -> None:
        for runner in self.runners.values():
            runner.broker_reached()

    def _arrived(self, event: Arrived) -> None:
        """A message of the broker, which may be anything, also what was never asked for."""
        if not event.payload:
            return  # a retained message was cleared
        try:
            topic = topics.parse(event.topic)
            if isinstance(topic, BlockTopic):
                for runner in self.runners.values():
                    runner.cargo.arrived(topic, event.payload)
                return
            if not self._is_for_us(topic):
                return
            message = decode_down(topic.kind, event.payload)
        except ProtocolError as error:
            self._services.log.warning("a message was refused", topic=event.topic[:120], reason=str(error))
            return
        if isinstance(message, Desired):
            self._desired(message, sha256(event.payload))
        elif isinstance(message, Action):
            self._orders.execute(message)
        else:
            self._outbox.confirmed(message)

    def _is_for_us(self, topic: DeviceTopic) -> bool:
        """Whether it is this device's: amqtt sends a client that connects what others have subscribed to."""
        config = self._services.config
        return (topic.fleet, topic.device, topic.direction) == (config.fleet, config.device, "down")

    def _desired(self, desired: Desired, digest: str) -> None:
        """Take over a newer document; on disk as being handled first, so that one that stops the agent is known."""
        store = self._services.store
        if not is_newer(store.record, desired):
            return
        try:
            store.save(undertake(store.record, desired, digest))
            if (reason := poisoned(store.record)) is not None:
                self._refuse(digest, reason)
                return
            is_first = not store.record.has_taken_a_document
            accepted = accept(store.record, desired, tuple(self.runners))
            assert accepted is not None, "it is newer"
            store.save(accepted.record)
        except StoreError as error:
            store.record = set_aside(store.record)
            self._services.log.warning("a desired document cannot be saved", reason=str(error))
            return  # it is retained: the next connection brings it again
        if accepted.unknown:
            self._services.log.warning("slots that this device does not have", slots=", ".join(accepted.unknown))
        for runner in self.runners.values():
            runner.consider()
        if is_first:
            next(iter(self.runners.values())).cargo.sweep()
        self._report()

    def _refuse(self, digest: str, reason: str) -> None:
        """Said once a start, although the broker brings the document with every connection."""
        if digest not in self._refused:
            self._refused.add(digest)
            self._services.log.error("a desired document is refused", reason=reason)
            self._outbox.note(Notice(kind="error", reason=reason))

    def _make_report(self) -> Reported:
        return reported(self._services.store.record, self.runners)

    def _report(self) -> None:
        """Send what is true now, unless it is what was said last."""
        report = self._make_report()
        if report != self._reported and self._outbox.online:
            self._reported = report
            self._outbox.report(report)

    def _say_again(self) -> None:
        """Send the report as it is: a probation waits for the broker to acknowledge something."""
        self._reported = None
        self._report()

    def _send_logs(self) -> None:
        self._outbox.logs(self._logs)

    def _logs_due(self) -> None:
        self._send_logs()
        self._services.timers.after(LOG_EVERY_S, self._logs_due)

    def _events_due(self) -> None:
        self._outbox.send_again()
        self._services.timers.after(SEND_AGAIN_S / 4, self._events_due)

    def _telemetry_due(self) -> None:
        for runner in self.runners.values():
            runner.send_telemetry()
        self._services.timers.after(self._services.config.telemetry_window_s, self._telemetry_due)
