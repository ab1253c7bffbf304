"""Tries a candidate in a worker of its own: the self-test, then the watch over its probation."""

from collections.abc import Callable

from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.core.health import Breach, Commit, Evidence, Unproven, judge
from wherry.agent.core.record import SlotRecord
from wherry.agent.core.slot import SlotEvent
from wherry.agent.crew import Crew
from wherry.agent.errors import StoreError
from wherry.agent.launch import Launch, NotRunnable, prepare
from wherry.agent.measures import Tally
from wherry.agent.seat import Hooks, Seat
from wherry.agent.services import Services
from wherry.agent.timers import Timer
from wherry.agent.worker.messages import SelfTested, Window
from wherry.protocol.types import VersionRef
from wherry.protocol.up.reported import Agreement

JUDGE_EVERY_S = 1.0
"""For what no window tells: time passing, a worker that answers nothing."""

REMARK_HOLDS_S = 90.0
"""What ails a feed is said again while it does: every second, or each time that the feeder cannot be started."""


class Trial:
    """One at a time. `slot` gives the record as it is now, `samples` what the incumbent was asked.

    `agreement` is what the newest self-test found of it.
    """

    def __init__(
        self,
        services: Services,
        crew: Crew,
        name: str,
        *,
        slot: Callable[[], SlotRecord],
        happen: Callable[[SlotEvent], None],
        window: Callable[[Window], None],
        samples: Callable[[], SampleFile | None],
    ) -> None:
        self._services, self._crew, self._name, self._slot = services, crew, name, slot
        self._happen, self._window, self._samples = happen, window, samples
        self.agreement: Agreement | None = None
        self._against: VersionRef | None = None
        self._seat: Seat | None = None
        self._launch: Launch | None = None
        self._timer: Timer | None = None
        self._tally: Tally | None = None
        self._since_s = 0.0
        self._broker_reached = False
        self._remark, self._remarked_s = "", 0.0

    @property
    def pid(self) -> int | None:
        return None if self._seat is None else self._seat.pid or None

    def start(self) -> None:
        """Load and self-test: `self-test-passed`, or why not."""
        if self._hire():
            self._load()

    def resume(self) -> None:
        """After a power cut in probation: load and serve, the self-test is passed."""
        if self._hire():
            self._load()

    def serve(self) -> None:
        """Serve beside the incumbent: `candidate-serving`."""
        if self._seat is not None:
            self._seat.serve()

    def watch(self) -> None:
        """Begin the probation anew, and judge until it ends."""
        self._tally, self._since_s, self._broker_reached = Tally(), self._services.clock.now_s(), False
        self._remark = ""
        self._timer = self._services.timers.after(JUDGE_EVERY_S, self._tick)

    def reached(self) -> None:
        """The broker has acknowledged something."""
        self._broker_reached = True

    def feed_remarked(self, remark: str) -> None:
        """What ails the slot's feed; said again while it does."""
        self._remark, self._remarked_s = remark, self._services.clock.now_s()

    def stop(self) -> None:
        """Let the candidate go; its end is no failure."""
        if self._seat is not None:
            self._seat.stop()
        self._forget()

    def hand_over(self) -> Seat | None:
        """The candidate's worker, whose events go to somebody else from now on."""
        seat = self._seat
        self._forget()
        return seat

    def _hire(self) -> bool:
        self.stop()
        attempt = self._slot().attempt
        assert attempt is not None, "a candidate is tried in an attempt"
        try:
            self._launch = prepare(self._services, self._name, attempt.ref, with_golden=True)
        except StoreError as error:
            self._happen(SlotEvent("corrupt", str(error)))
        except NotRunnable as error:
            self._happen(SlotEvent("unrunnable", str(error)))
        else:
            self._seat = self._crew.hire(self._name, "candidate", self._hooks())
        return self._seat is not None

    def _load(self) -> None:
        assert self._seat is not None
        assert self._launch is not None
        self._seat.load(self._launch)

    def _hooks(self) -> Hooks:
        return Hooks(
            loaded=self._loaded,
            tested=self._tested,
            serving=lambda: self._happen(SlotEvent("candidate-serving")),
            window=self._measured,
            ended=self._ended,
            not_started=self._not_started,
        )

    def _loaded(self) -> None:
        if self._slot().state == "probation":
            self.serve()
        elif self._seat is not None and self._launch is not None:
            self._against = self._slot().incumbent
            self._seat.test(self._launch, self._samples())

    def _tested(self, tested: SelfTested) -> None:
        self.agreement = self._agreement(tested)
        self._happen(SlotEvent("self-test-passed" if tested.ok else "self-test-failed", tested.reason))

    def _agreement(self, tested: SelfTested) -> Agreement | None:
        attempt = self._slot().attempt
        if not tested.compared or attempt is None or self._against is None:
            return None
        return Agreement(
            artifact=attempt.ref.artifact,
            against=self._against.artifact,
            compared=tested.compared,
            agreed=min(tested.agreed, tested.compared),
        )

    def _ended(self, reason: str) -> None:
        self._forget()
        self._happen(SlotEvent("candidate-failed", reason))

    def _not_started(self, reason: str) -> None:
        self._forget()
        self._happen(SlotEvent("unrunnable", reason))

    def _measured(self, window: Window) -> None:
        self._window(window)
        if self._tally is not None:
            self._tally.add(window)
            self._judge()

    def _tick(self) -> None:
        self._timer = self._services.timers.after(JUDGE_EVERY_S, self._tick)
        self._judge()

    def _judge(self) -> None:
        attempt = self._slot().attempt
        if self._tally is None or self._launch is None or attempt is None:
            return
        now_s = self._services.clock.now_s()
        seen = Evidence(
            elapsed_s=now_s - self._since_s,
            inferences=self._tally.inferences,
            errors=self._tally.errors,
            p95_ms=self._tally.p95_ms(),
            incumbent_p95_ms=attempt.incumbent_p95_ms,
            worker_rss_bytes=self._tally.rss_bytes,
            memory=tuple(self._tally.memory.points),
            answers=self._tally.profile(),
            incumbent=attempt.incumbent,
            reference=self._launch.reference,
            broker_reached=self._broker_reached,
            broker_before=attempt.broker_before,
            last_error=self._tally.last_error,
            remark=self._remark if now_s - self._remarked_s <= REMARK_HOLDS_S else "",
            committed_before=attempt.ref == self._slot().last_good,
        )
        match judge(self._launch.manifest.health, seen):
            case Commit():
                self._happen(SlotEvent("healthy"))
            case Breach(reason):
                self._happen(SlotEvent("breach", reason))
            case Unproven(reason):
                self._happen(SlotEvent("unproven", reason))

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._launch is not None:
            self._launch.close()
        self._seat = self._launch = self._tally = None
