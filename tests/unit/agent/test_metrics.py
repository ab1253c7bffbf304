"""What the board says of itself is the same for every slot that asks in one turn."""

import time
from pathlib import Path

import pytest

from wherry.agent.adapters import metrics
from wherry.agent.adapters.metrics import SystemMetrics


def _keep_a_core_busy() -> None:
    """For longer than the kernel's tick."""
    until_s = time.process_time() + 0.2
    while time.process_time() < until_s:
        pass


def test_every_slot_is_told_the_same_share_of_the_processor(tmp_path: Path) -> None:
    found = SystemMetrics(tmp_path)
    _keep_a_core_busy()
    first, second, third = (found.read(None).cpu_share for _ in range(3))
    assert first > 0
    assert (second, third) == (first, first)


def test_a_later_reading_is_of_the_time_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what is kept is not kept for good."""
    monkeypatch.setattr(metrics, "SAME_READING_S", 0.0)
    found = SystemMetrics(tmp_path)
    _keep_a_core_busy()
    assert found.read(None).cpu_share > 0
    measured_s = found._measured_s
    found.read(None)
    assert found._measured_s > measured_s
