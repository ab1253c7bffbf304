"""Tells the service manager that the agent is ready, how it does, and that it is alive.

Rules upheld here:
- A heartbeat is given by a timer of the supervisor's one thread and nowhere else: a loop that hangs gives none.
- Ready means that the supervisor turns, not that a broker was reached: a device without a network serves.
"""

from collections.abc import Callable, Sequence

from wherry.agent.adapters.service import status_line
from wherry.agent.core.heartbeat import Pulse, patience_s, starved, well_since
from wherry.agent.services import Services

BEATS = 4
"""Heartbeats in the time that the manager waits: a turn that takes long, on a slow card, must not look like a hang."""

STATUS_EVERY_S = 30.0
"""Where nobody waits for a heartbeat."""


class Heartbeat:
    """`pulses` looks at all slots; `status` is one line for a person."""

    def __init__(
        self,
        services: Services,
        *,
        pulses: Callable[[], Sequence[Pulse]],
        status: Callable[[], str],
    ) -> None:
        self._services, self._manager = services, services.manager
        self._pulses, self._status = pulses, status
        self._well_s: dict[str, float] = {}
        self._told: tuple[str, ...] = ()
        limits = services.config.worker
        self._patience_s = patience_s(
            silence_limit_s=limits.silence_limit_s,
            load_limit_s=limits.load_limit_s,
            restart_limit_s=limits.restart_limit_s,
            max_failures=limits.max_failures,
        )

    def start(self) -> None:
        self._manager.tell("READY=1")
        self._beat()

    def stop(self) -> None:
        self._manager.tell("STOPPING=1", status_line("stopping: the workers finish what they answer"))

    def _beat(self) -> None:
        now_s = self._services.clock.now_s()
        self._well_s = well_since(self._well_s, self._pulses(), now_s)
        silent = starved(self._well_s, now_s, self._patience_s)
        if silent != self._told and silent:
            self._services.log.error("no heartbeat while a slot does not serve", slots=", ".join(silent))
        self._told = silent
        self._manager.tell(*([] if silent else ["WATCHDOG=1"]), status_line(self._status()))
        watchdog_s = self._manager.watchdog_s
        self._services.timers.after(STATUS_EVERY_S if watchdog_s is None else watchdog_s / BEATS, self._beat)
