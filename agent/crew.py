"""All the workers of this agent: starts them and passes on what they say, by their ids."""

from wherry.agent.adapters.worker_process import WorkerEnded, WorkerSaid
from wherry.agent.seat import Hooks, Role, Seat
from wherry.agent.services import Services


class Crew:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._seats: dict[str, Seat] = {}

    def hire(self, slot: str, role: Role, hooks: Hooks) -> Seat:
        """Start a worker without a model."""
        seat = Seat(self._services, slot, role, hooks)
        self._seats[seat.worker_id] = seat
        return seat

    def heard(self, event: WorkerSaid | WorkerEnded) -> None:
        """Pass on an event of a worker process."""
        seat = self._seats.get(event.worker_id)
        if seat is None:
            return
        if isinstance(event, WorkerEnded):
            del self._seats[event.worker_id]
            seat.ended(event)
        else:
            seat.said(event.answer)

    def stop(self) -> None:
        """Let everybody drain and leave."""
        for seat in self._seats.values():
            seat.stop()

    def kill(self) -> None:
        for seat in self._seats.values():
            seat.kill()

    def __len__(self) -> int:
        return len(self._seats)
