"""Runs one slot: takes its events through the table, saves the record, then carries out the actions.

Rules upheld here:
- One event at a time; what an action causes at once waits until the step before is done.
- Saved, then announced, then acted. A record that cannot be saved is tried again, and nothing is done meanwhile.
- What happens meanwhile is told of a state that may be over by then: it is kept, and dropped where it fits no more.
  Verdicts and wishes are never kept, for they are found anew. What leaves the record as it is needs no disk and is
  acted on at once: an incumbent that crashes is started again.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from wherry.agent.cargo import Cargo
from wherry.agent.core import effects
from wherry.agent.core.announce import ALARMING, Notice, notices
from wherry.agent.core.record import Attempt, SlotRecord
from wherry.agent.core.recovery import recover, suspect
from wherry.agent.core.slot import Action, EventKind, SlotEvent, Step, knows, pursue, step
from wherry.agent.crew import Crew
from wherry.agent.errors import StoreError
from wherry.agent.incumbent import Incumbent
from wherry.agent.measures import Past
from wherry.agent.outbox import Outbox
from wherry.agent.services import Services
from wherry.agent.slot_telemetry import SlotTelemetry
from wherry.agent.timers import Timer
from wherry.agent.trial import Trial
from wherry.agent.vitals import Vitals
from wherry.agent.worker.messages import Window
from wherry.protocol.types import VersionRef

SAVE_AGAIN_S = 5.0
FOUND_ANEW: tuple[EventKind, ...] = (
    "healthy",
    "breach",
    "unproven",
    "assigned",
    "renewed",
    "satisfied",
    "refused",
    "restore",
)
"""A verdict is said again every second while it holds, and a wish stands in the record."""


class SlotRunner:
    def __init__(
        self, services: Services, crew: Crew, outbox: Outbox, name: str, boot_id: str,
        *, on_change: Callable[[], None], on_watch: Callable[[], None],
    ) -> None:  # fmt: skip
        self.name = name
        self._services, self._outbox, self._on_change, self._on_watch = services, outbox, on_change, on_watch
        self._queue: deque[SlotEvent | None] = deque()
        self._meanwhile: deque[SlotEvent] = deque()
        self._save_again: Timer | None = None
        self._busy = False
        self._is_suspect = suspect(services.store.record) == name
        self._past = Past()
        self.vitals = Vitals(services.clock)
        self._past_of: VersionRef | None = None
        self.cargo = Cargo(services, happen=self.happen, note=self._note_block)
        self._incumbent = Incumbent(
            services, crew, name, slot=self._slot, happen=self.happen, note=self._note,
            window=self._incumbent_measured,
        )  # fmt: skip
        self._trial = Trial(
            services, crew, name, slot=self._slot, happen=self.happen, window=self._candidate_measured,
            samples=lambda: self._incumbent.samples,
        )  # fmt: skip
        self._telemetry = SlotTelemetry(services, outbox, name, boot_id)
        self._actions = self._action_table()

    def boot(self) -> None:
        """Go on from what is on disk."""
        self._queue.append(None)
        self._work()

    def happen(self, event: SlotEvent) -> None:
        """Take an event through the table: now, right after the one that is being worked on, or once that is saved."""
        if self._save_again is None:
            self._queue.append(event)
            self._work()
        elif knows(self._slot().state, event.kind) and (done := step(self._slot(), event)).after == done.before:
            self._carry_out(done)
        elif event.kind not in FOUND_ANEW:
            self._meanwhile.append(event)

    def consider(self) -> None:
        """Look at the wish, which may be new."""
        self._work()

    def ask_restart(self) -> str | None:
        """Start the worker again; why not, where that makes no sense now."""
        state = self._slot().state
        if not knows(state, "restart-asked"):
            return f"slot {self.name} is in {state}"
        self.happen(SlotEvent("restart-asked", "the operator asked"))
        return None

    def try_again(self) -> None:
        """Try once more what is in safe mode."""
        if knows(self._slot().state, "trial-due"):
            self.happen(SlotEvent("trial-due", "tried once more, after a long time in safe mode"))

    def broker_reached(self) -> None:
        self._trial.reached()

    def feed_remarked(self, remark: str) -> None:
        self._trial.feed_remarked(remark)

    @property
    def worker_pid(self) -> int | None:
        """Of the worker that answers now."""
        return self._trial.pid if self._slot().state == "probation" else self._incumbent.pid

    @property
    def should_serve(self) -> bool:
        """Whether there is something to serve, and something here that runs it."""
        slot = self._slot()
        return slot.serving is not None and (slot.state == "probation" or self._incumbent.is_runnable)

    def send_telemetry(self) -> None:
        self._telemetry.send(self._slot(), self.worker_pid)

    def _slot(self) -> SlotRecord:
        return self._services.store.record.slot(self.name)

    def _attempt(self) -> Attempt:
        attempt = self._slot().attempt
        assert attempt is not None, "this action belongs to an attempt"
        return attempt

    def _work(self) -> None:
        """Empty the queue, then pursue the wish; nothing while a record waits to be saved."""
        if self._busy or self._save_again is not None:
            return
        self._busy = True
        try:
            while self._find_work() and self._take(self._queue[0]):
                pass
        finally:
            self._busy = False

    def _find_work(self) -> bool:
        """Whether there is an event in the queue, which is given the next one where it is empty."""
        while not self._queue and self._meanwhile:
            event = self._meanwhile.popleft()
            if knows(self._slot().state, event.kind):
                self._queue.append(event)
            else:
                self._services.log.info("came too late", slot=self.name, what=event.kind, reason=event.reason)
        if not self._queue and (wished := pursue(self._slot())) is not None:
            self._queue.append(wished)
        return bool(self._queue)

    def _take(self, event: SlotEvent | None) -> bool:
        """One step; whether it could be saved. `None` stands for the start of the agent."""
        done = self._recovered() if event is None else step(self._slot(), event)
        try:
            self._save(done)
        except StoreError as error:
            self._services.log.warning("the state cannot be saved", slot=self.name, reason=str(error))
            if event is not None and event.kind in FOUND_ANEW:
                self._queue.popleft()
            self._save_again = self._services.timers.after(SAVE_AGAIN_S, self._try_again)
            return False
        self._queue.popleft()
        self._carry_out(done)
        return True

    def _recovered(self) -> Step:
        unsteady_boots = self._services.store.record.unsteady_boots
        return recover(self._slot(), unsteady_boots, is_suspect=self._is_suspect)

    def _try_again(self) -> None:
        self._save_again = None
        self._work()

    def _save(self, done: Step) -> None:
        store = self._services.store
        if done.after.state == "switch" and done.before.state == "self-test":
            done = msgspec.structs.replace(done, after=effects.with_agreement(done.after, self._trial.agreement))
        if done.after.state == "probation" and done.before.state == "switch":
            after = effects.with_baseline(
                done.after, self._past.p95_ms(), self._past.baseline(), broker_before=self._outbox.online
            )
            done = msgspec.structs.replace(done, after=after)
        store.save(store.record.with_slot(self.name, done.after))

    def _carry_out(self, done: Step) -> None:
        for notice in notices(done):
            self._note(notice)
        if done.before.state != done.after.state:
            self.vitals.moved()
        if done.before != done.after:
            self._on_change()
        for action in done.actions:
            self._actions[action]()

    def _action_table(self) -> dict[Action, Callable[[], object]]:
        return {
            "fetch-manifest": lambda: self.cargo.fetch_manifest(self._attempt()),
            "fetch-blobs": lambda: self.cargo.fetch_blobs(self._attempt()),
            "verify-blobs": lambda: self.cargo.verify(self._attempt()),
            "drop-download": self.cargo.drop,
            "start-candidate": self._trial.start,
            "resume-candidate": self._trial.resume,
            "serve-candidate": self._trial.serve,
            "watch-candidate": self._watch,
            "stop-candidate": self._trial.stop,
            "start-serving": self._incumbent.start,
            "restart-serving": self._incumbent.restart_later,
            "replace-serving": self._incumbent.stop,
            "stop-serving": self._incumbent.stop,
            "adopt-candidate": self._adopt,
            "collect-garbage": self.cargo.sweep,
        }

    def _watch(self) -> None:
        self._trial.watch()
        self._on_watch()

    def _adopt(self) -> None:
        seat = self._trial.hand_over()
        assert seat is not None, "a healthy candidate has a worker"
        self._incumbent.adopt(seat)

    def _incumbent_measured(self, window: Window) -> None:
        self.vitals.heard(window)
        incumbent = self._slot().incumbent
        if incumbent != self._past_of:
            self._past_of = incumbent
            self._past.clear()
        self._past.add(window)
        if incumbent is not None:
            self._telemetry.add(incumbent, "running", window)

    def _candidate_measured(self, window: Window) -> None:
        self.vitals.heard(window)
        if self._slot().state == "probation":
            self._telemetry.add(self._attempt().ref, "probation", window)

    def _note(self, notice: Notice) -> None:
        fields = {key: str(value) for key, value in msgspec.structs.asdict(notice).items() if value not in (None, "")}
        del fields["kind"]
        level = "warning" if notice.kind in ALARMING else "info"
        getattr(self._services.log, level)(notice.kind, slot=self.name, **fields)
        self._outbox.note(notice, self.name)

    def _note_block(self, notice: Notice) -> None:
        attempt = self._slot().attempt
        self._note(msgspec.structs.replace(notice, ref=None if attempt is None else attempt.ref))
