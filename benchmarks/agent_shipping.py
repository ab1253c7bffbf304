"""One update after another, published on the broker and waited for until the agent has committed it."""

from benchmarks.agent_cargo import SmallModel
from benchmarks.form import Failed
from benchmarks.shore import Shore
from tests.support.cargo_hold import Version
from wherry.protocol.up import Reported

LIMIT_S = 60.0


class Shipping:
    """Versions are numbered on. What an agent has committed is taken off the broker again."""

    def __init__(self, shore: Shore, device: str, model: SmallModel) -> None:
        self._shore, self._device, self._model = shore, device, model
        self._number = 0

    def ship(self) -> int:
        """Update the device; the number of the version that is now committed. Raises Failed."""
        self._number += 1
        version = self._model.version(self._number)
        self._shore.publish(version)
        wanted_s = self._shore.want(self._number, version, [self._device])
        self._shore.wait_for(lambda: self._committed(version, wanted_s), "the version is committed", LIMIT_S)
        self._shore.clear(version)
        return self._number

    def _committed(self, version: Version, since_s: float) -> bool:
        reports = [report.slots[0] for _, sender, report in self._shore.heard(Reported, since_s)]
        outcomes = [
            slot.outcome
            for slot in reports
            if slot.outcome is not None and slot.outcome.ref.artifact == version.assignment.artifact
        ]
        bad = [outcome for outcome in outcomes if outcome.result != "committed"]
        if bad:
            raise Failed(f"the agent did not keep the version: {bad[0].reason}")
        return bool(outcomes)
