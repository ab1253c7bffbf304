"""A real feeder process, with what it says in a list."""

import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wherry.agent.adapters.feeder_process import FeederEnded, FeederProcess, FeederSaid
from wherry.agent.config import FeedConfig, ResultsConfig
from wherry.agent.feeder.messages import Job


class LiveFeeder:
    """Asks whoever serves the slot `main` in `directory`; its results go to `results.jsonl` there, unless told where.

    It is ended on leaving the `with` block.
    """

    def __init__(self, directory: Path, feed: FeedConfig, results: ResultsConfig | None = None) -> None:
        self.log = directory / "results.jsonl"
        self._lock = threading.Lock()
        self._said: list[FeederSaid | FeederEnded] = []
        where = results or ResultsConfig(log=str(self.log))
        self.process = FeederProcess.start(
            Job(slot="main", sockets=str(directory), feed=feed, results=where), self._hear
        )

    def _hear(self, event: FeederSaid | FeederEnded) -> None:
        with self._lock:
            self._said.append(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.stop()
        self.process.close()

    @property
    def ended(self) -> list[str]:
        with self._lock:
            return [event.detail for event in self._said if isinstance(event, FeederEnded)]

    @property
    def remarks(self) -> set[str]:
        with self._lock:
            return {remark for event in self._said if isinstance(event, FeederSaid) for remark in event.pulse.remarks}

    def count(self, field: str) -> int:
        """The sum of a field of the pulses."""
        with self._lock:
            return sum(getattr(event.pulse, field) for event in self._said if isinstance(event, FeederSaid))

    @property
    def results(self) -> list[dict[str, Any]]:
        """The lines that are whole."""
        return lines(self.log)


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
