"""Gathers the windows of a slot's worker into telemetry windows, one version and phase in each."""

from typing import Literal

import msgspec

from wherry.agent.core.record import SlotRecord
from wherry.agent.measures import Tally
from wherry.agent.outbox import Outbox
from wherry.agent.services import Services
from wherry.agent.worker.messages import Window
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Telemetry

EXPIRY_WINDOWS = 30
"""Telemetry that a broker could not pass on for so many windows is of no use any more (MQTT 5)."""


class Subject(msgspec.Struct, frozen=True):
    """What a window is about."""

    ref: VersionRef
    phase: Literal["running", "probation"]


class SlotTelemetry:
    def __init__(self, services: Services, outbox: Outbox, name: str, boot_id: str) -> None:
        self._services, self._outbox, self._name, self._boot_id = services, outbox, name, boot_id
        self._subject: Subject | None = None
        self._tally = Tally()
        self._pid: int | None = None
        self._number = 0

    def add(self, ref: VersionRef, phase: Literal["running", "probation"], window: Window) -> None:
        """Count a worker's window; one about something else first sends what was gathered."""
        subject = Subject(ref, phase)
        if self._subject not in (None, subject):
            self._flush(self._pid)
        self._subject = subject
        self._tally.add(window)

    def send(self, slot: SlotRecord, pid: int | None) -> None:
        """A telemetry window is over. Silence of a slot that serves is said, too."""
        self._pid = pid
        if self._subject is None and slot.serving is not None:
            self._subject = Subject(slot.serving, "probation" if slot.state == "probation" else "running")
        if self._subject is not None:
            self._flush(pid)
        self._subject = None

    def _flush(self, pid: int | None) -> None:
        assert self._subject is not None
        tally, self._tally = self._tally, Tally()
        window_s = self._services.config.telemetry_window_s
        profile = tally.profile()
        telemetry = Telemetry(
            boot_id=self._boot_id, window=self._number, window_s=tally.window_s or window_s, slot=self._name,
            ref=self._subject.ref, phase=self._subject.phase, inferences=tally.inferences, errors=tally.errors,
            latency=tally.sketch(), labelled=tally.labelled, correct=tally.correct, predictions=profile.predictions,
            confidence=profile.confidence, worker_cpu_share=tally.cpu_s / (tally.window_s or window_s),
            system=self._services.metrics.read(pid),
        )  # fmt: skip
        self._number += 1
        self._outbox.telemetry(telemetry, int(EXPIRY_WINDOWS * window_s) + 1)
