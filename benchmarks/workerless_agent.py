"""The real agent with workers that do nothing: for measures that end before a worker is needed.

Twenty boards load a runtime on twenty boards' cores. On one machine the first agents to have a version
would start twenty imports of numpy and a runtime beside the downloads that are being measured.
"""

import itertools
import sys
from collections.abc import Sequence

from wherry.agent import __main__ as agent
from wherry.agent.adapters.worker_process import OnEvent, WorkerEnded
from wherry.agent.worker.messages import AnyOrder, Stop

_numbers = itertools.count(1)


class IdleWorker:
    """Takes every order and answers none; ends when told to stop."""

    def __init__(self, slot: str, role: str, on_event: OnEvent) -> None:
        self.worker_id = f"{slot}-{role}-idle-{next(_numbers)}"
        self._on_event = on_event
        self._ended = False

    @property
    def pid(self) -> int:
        return 0

    def send(self, order: AnyOrder, files: Sequence[int] = ()) -> None:  # noqa: ARG002  the interface of workers
        if isinstance(order, Stop):
            self.kill()

    def kill(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_event(WorkerEnded(worker_id=self.worker_id, exit_code=0, detail="stopped"))

    def close(self) -> None:
        """Nothing is open."""


class _Start:
    start = IdleWorker


if __name__ == "__main__":
    agent.WorkerProcess = _Start  # type: ignore[attr-defined, assignment]  # the wiring leaves no other seam
    sys.exit(agent.main())
