"""Carries out the operator's one-shot orders, each at most once.

Rules upheld here:
- The id is on disk before the effect: an order cut short is not done twice.
- An order too late, unknown or without sense now is refused, and the reason goes up as an event.
"""

from collections.abc import Callable, Mapping

from wherry.agent.core import effects
from wherry.agent.core.announce import Notice
from wherry.agent.crew import Crew
from wherry.agent.errors import StoreError
from wherry.agent.launch import NotRunnable, prepare
from wherry.agent.outbox import Outbox
from wherry.agent.seat import Hooks
from wherry.agent.services import Services
from wherry.agent.slot_runner import SlotRunner
from wherry.agent.worker.messages import SelfTested
from wherry.protocol.down import Action


class Orders:
    def __init__(
        self, services: Services, crew: Crew, outbox: Outbox, runners: Mapping[str, SlotRunner],
        *, send_logs: Callable[[], None], on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        self._services, self._crew, self._outbox, self._runners = services, crew, outbox, runners
        self._send_logs, self._on_change = send_logs, on_change

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
        elif action.kind != "self-test":
            self._answer(action, "", done=True)

    def _refusal(self, action: Action) -> str | None:
        late_s = self._services.clock.wall_s() - action.not_after_s
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
                self._send_logs()
                return None
            case "restart-slot":
                return self._runners[name].ask_restart()
            case "forget-quarantine":
                self._forget(action)
                return None
            case "self-test":
                return self._self_test(action, name)

    def _forget(self, action: Action) -> None:
        store = self._services.store
        for name in [action.slot] if action.slot else list(self._runners):
            slot = effects.forget_quarantine(store.record.slot(name), action.artifact)
            store.save(store.record.with_slot(name, slot))
        self._on_change()

    def _self_test(self, action: Action, name: str) -> str | None:
        """Test what serves, in a worker beside it; the answer follows."""
        ref = self._services.store.record.slot(name).serving
        if ref is None:
            return f"slot {name} serves nothing"
        threads = self._services.config.slots[name].threads
        try:
            launch = prepare(self._services.store, self._services.runtimes, ref, threads, verify_golden=True)
        except NotRunnable as error:
            return str(error)

        def tested(result: SelfTested) -> None:
            seat.stop()
            self._answer(action, result.reason, done=result.ok)

        def failed(reason: str) -> None:
            self._answer(action, reason, done=False)

        hooks = Hooks(
            loaded=lambda: seat.test(launch.test),
            tested=tested,
            serving=lambda: None,
            window=lambda _window: None,
            ended=failed,
            not_started=failed,
        )
        seat = self._crew.hire(name, "check", hooks)
        seat.load(launch.load)
        return None

    def _answer(self, action: Action, reason: str, *, done: bool) -> None:
        notice = Notice(kind="action-done" if done else "action-refused", reason=reason, action_id=action.id)
        because = {"reason": reason} if reason else {}
        self._services.log.info(notice.kind, action=action.kind, id=action.id, **because)
        self._outbox.note(notice, action.slot)
