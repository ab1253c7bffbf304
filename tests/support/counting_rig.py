"""A rig whose starts are counted as the command counts them, and that may die in any of them."""

from collections.abc import Callable
from pathlib import Path

from tests.support.cargo_hold import Version
from tests.support.rig import Rig
from wherry.agent.adapters.store import Store
from wherry.agent.core.boots import STEADY_S

FOR_EVER = 20
"""Starts after which a loop counts as endless, in the negative controls."""


class Died(Exception):
    """Stands for whatever ends the process."""


class CountingRig(Rig):
    """Starts are counted as the command does it, before anything else."""

    def boot(self, **options: object) -> "CountingRig":
        store = Store(Path(self.config.state_dir))
        store.save(store.record.booted())
        store.close()
        super().boot(**options)  # type: ignore[arg-type]
        return self

    def stop(self) -> "CountingRig":
        """In good order."""
        self.supervisor.leave()
        self.store.close()
        return self

    def starts_until_it_lives(self) -> int:
        for start in range(1, FOR_EVER + 1):
            try:
                self.boot()
            except Died:
                self.store.close()
            else:
                return start
        return FOR_EVER

    def starts_until(self, is_over: Callable[[], object]) -> int:
        """Starts, each cut short, until one finds that it is over."""
        for start in range(1, FOR_EVER + 1):
            self.cut().boot()
            if is_over():
                return start
        return FOR_EVER

    def serves(self) -> list[str]:
        return [worker.artifact for worker in self.yard.serving]


def steady(directory: Path, version: Version) -> CountingRig:
    """An agent with an incumbent, that has run steadily."""
    rig = CountingRig(directory).boot()
    rig.deploy(1, version)
    rig.wait(STEADY_S + 1)
    assert rig.store.record.unsteady_boots == 0
    return rig
