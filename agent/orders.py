"""Carries out the operator's one-shot orders, each at most once.

Rules upheld here:
- The id is on disk before the effect: an order cut short is not done twice.
- What time it is, for an order that came late, is what it is at least: a board may wake in 1970.
- Self-tests run one at a time: each has a model in memory.
- An order too late, unknown or without sense now is refused, and the reason goes up as an event.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from wherry.agent.core import effects
from wherry.agent.core.announce import Notice
from wherry.agent.crew import Crew
from wherry.agent.errors import StoreError
from wherry.agent.launch import NotRunnable, prepare
from wherry.agent.outbox import Outbox
from wherry.agent.seat import Hooks
from wherry.agent.services import Services
from wherry.agent.slot_runner import SlotRunner
from wherry.agent.uploads import Sent, Uploads
from wherry.agent.worker.messages import SelfTested
from wherry.protocol.down import Action

Transport = Literal["", "mqtt", "http"]

ANSWERED_LATER = ("self-test", "collect-logs")
"""Kinds that are not done when they have begun."""


class Orders:
    def __init__(
        self, services: Services, crew: Crew, outbox: Outbox, runners: Mapping[str, SlotRunner],
        uploads: Uploads, *, collect: Callable[[], bytes], on_change: Callable[[], None],
        wall_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._services, self._crew, self._outbox, self._runners = services, crew, outbox, runners
        self._uploads, self._collect, self._on_change = uploads, collect, on_change
        self._wall_s = wall_s
        self._is_testing = False

    def execute(self, action: Action) -> None:
        """Do it, unless it was done before. A repeated id is passed over in silence: it has been answered."""
        store = self._services.store
        if action.id in store.record.executed:
            return
        refusal = self._refusal(action)
        try:
            store.save(store.record.with_executed(action.id))
            refusal = refusal or self._do(action)
        except StoreError as error:
            refusal = str(error)
        if refusal is not None:
            self._answer(action, refusal, done=False)
        elif action.kind not in ANSWERED_LATER:
            self._answer(action, "", done=True)

    def _refusal(self, action: Action) -> str | None:
        late_s = self._wall_s() - action.not_after_s
        if late_s > 0:
            return f"arrived {late_s:.0f} s after its time, by this device's clock"
        if action.slot is not None and action.slot not in self._runners:
            return f"this device has no slot {action.slot}"
        return None

    def _do(self, action: Action) -> str | None:
        """Why it cannot be done; None where it was, or is under way."""
        name = action.slot or next(iter(self._runners))
        match action.kind:
            case "collect-logs":
                return self._collect_logs(action)
            case "restart-slot":
                return self._runners[name].ask_restart()
            case "forget-quarantine":
                self._forget(action)
                return None
            case "self-test":
                return self._self_test(action, name)

    def _collect_logs(self, action: Action) -> str | None:
        """Send what there is up; the answer follows when the controller or the broker has all of it."""

        def sent(how: Sent) -> None:
            ways = {"http": "over HTTP", "mqtt": "as blocks over MQTT"}
            reason = f"{how.size_bytes} bytes {ways[how.transport]}" + (f"; {how.problem}" if how.problem else "")
            self._answer(action, reason, done=True, digest=how.digest, transport=how.transport)

        return self._uploads.send(action.id, action.upload_url, self._collect(), sent)

    def _forget(self, action: Action) -> None:
        store = self._services.store
        for name in [action.slot] if action.slot else list(self._runners):
            slot = effects.forget_quarantine(store.record.slot(name), action.artifact)
            store.save(store.record.with_slot(name, slot))
        self._on_change()

    def _self_test(self, action: Action, name: str) -> str | None:
        """Test what serves, in a worker beside it; the answer follows."""
        if self._is_testing:
            return "another self-test is under way"
        ref = self._services.store.record.slot(name).serving
        if ref is None:
            return f"slot {name} serves nothing"
        try:
            launch = prepare(self._services, name, ref, with_golden=True)
        except NotRunnable as error:
            return str(error)

        def tested(result: SelfTested) -> None:
            seat.stop()
            ended(result.reason, done=result.ok)

        def ended(reason: str, *, done: bool = False) -> None:
            launch.close()
            self._is_testing = False
            self._answer(action, reason, done=done)

        hooks = Hooks(
            loaded=lambda: seat.test(launch),
            tested=tested,
            serving=lambda: None,
            window=lambda _window: None,
            ended=ended,
            not_started=ended,
        )
        self._is_testing = True
        seat = self._crew.hire(name, "check", hooks)
        seat.load(launch)
        return None

    def _answer(
        self, action: Action, reason: str, *, done: bool, digest: str | None = None, transport: Transport = ""
    ) -> None:
        notice = Notice(
            kind="action-done" if done else "action-refused", reason=reason, action_id=action.id, digest=digest,
            transport=transport,
        )  # fmt: skip
        because = {"reason": reason} if reason else {}
        self._services.log.info(notice.kind, action=action.kind, id=action.id, **because)
        self._outbox.note(notice, action.slot)
