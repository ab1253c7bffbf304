"""Versions that pass their self-test and then misbehave, through the real agent, real workers and a real broker.

Each is reverted once, for the right reason, with the incumbent serving and the artifact in quarantine, and not tried
again when it is asked for again. The negative control switches the limits off: then it is committed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.conftest import Tried
from tests.support import dense_versions
from tests.support.agent_process import AgentProcess
from tests.support.broker import running
from tests.support.cargo_hold import Version
from tests.support.odd_worker import tail
from tests.support.shore import Shore
from tests.support.tiny_model import Dense
from tests.support.wait import wait_until
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.up import Event, Reported, Telemetry
from wherry.protocol.up.reported import SlotReport

pytestmark = pytest.mark.slow

V1 = dense_versions.make(1)
LIMITS = HealthLimits(min_inferences=300, probation_s=15, deadline_s=120, p95_ratio=10, p95_ratio_floor_ms=50)
"""Long enough for a leak to be seen as one, and slow is what no load of this machine makes of a fast model."""

OFF = HealthLimits(
    min_inferences=20, probation_s=2, deadline_s=120, p95_ratio=1e6, error_share=1.0, worker_growth_bytes=None,
    prediction_psi=None, confidence_shift=None,
)  # fmt: skip
OFF_FOR_LONG = msgspec.structs.replace(OFF, probation_s=5)
OFF_UNANSWERED = msgspec.structs.replace(OFF, min_inferences=0)
OFFER_S = 60.0


def _stuck() -> Dense:
    """A real model that says class 0 of whatever it is shown: the inputs are above the zero point on average."""
    weights = np.zeros((dense_versions.CLASSES, dense_versions.FEATURES), np.int8)
    weights[0] = 127
    return Dense(weights)


def _slow(limits: HealthLimits) -> Version:
    return dense_versions.make(2, limits, tail=tail("slow"))


def _leaking(limits: HealthLimits) -> Version:
    return dense_versions.make(3, limits, tail=tail("leaking"))


def _nan(limits: HealthLimits) -> Version:
    return dense_versions.make(4, limits, tail=tail("nan"))


def _crashing(limits: HealthLimits) -> Version:
    return dense_versions.make(5, limits, tail=tail("crashing"))


def _collapsed(limits: HealthLimits) -> Version:
    return dense_versions.make(6, limits, dense=_stuck(), drift=limits is LIMITS)


Make = Callable[[HealthLimits], Version]
CASES = [
    (_slow, "times the incumbent's"),
    (_leaking, "and goes on, limit 16.0"),
    (_nan, "inferences failed"),
    (_crashing, "SIGSEGV"),
    (_collapsed, "predictions drifted: class 0 is 100.0%"),
]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shore]:
    """One board for all: it has committed the first version, and goes back to it every time."""
    with _serving(tmp_path_factory.mktemp("board")) as shore:
        yield shore


@contextmanager
def _serving(directory: Path) -> Iterator[Shore]:
    with running("mosquitto", directory) as port:
        dense_versions.write_feed(directory / "feed", 1)
        agent = AgentProcess(directory, port, module="tests.support.odd_agent", window_s=0.5, runtime="litert")
        shore = Shore(port)
        try:
            _offer(shore, 1, V1)
            wait_until(lambda: _answered(shore, V1) >= 200, "the incumbent answers", OFFER_S)
            yield shore
        finally:
            shore.close()
            agent.kill()


def _offer(shore: Shore, generation: int, version: Version) -> SlotReport:
    shore.publish(version)
    shore.want(generation, version)
    return shore.await_outcome(generation, OFFER_S)


def _answered(shore: Shore, version: Version) -> int:
    windows = [entry for entry in shore.all(Telemetry) if entry.ref == version.assignment.ref]
    return sum(window.inferences for window in windows)


def _events(shore: Shore, kind: str) -> list[Event]:
    """Each once: what has no receipt is told again."""
    told = {(event.boot_id, event.seq): event for event in shore.all(Event)}
    return [event for event in told.values() if event.kind == kind]


def _next(shore: Shore) -> int:
    """The generation after the newest that the device has taken."""
    return shore.all(Reported)[-1].generation + 1


def _switches(shore: Shore) -> int:
    return len([event for event in _events(shore, "transition") if event.to_phase == "probation"])


@pytest.mark.parametrize(("make", "reason"), CASES, ids=[make.__name__.strip("_") for make, _ in CASES])
def test_it_is_reverted_once_for_the_right_reason_and_not_tried_again(
    board: Shore, make: Make, reason: str, tried: Tried
) -> None:
    bad, switches, reverts = make(LIMITS), _switches(board), len(_events(board, "reverted"))
    slot = _offer(board, _next(board), bad)
    assert slot.outcome is not None
    assert slot.outcome.result == "reverted"
    assert reason in slot.outcome.reason
    assert slot.serving == V1.assignment.ref
    assert bad.assignment.artifact in {entry.artifact for entry in slot.quarantine}
    before = _answered(board, V1)
    wait_until(lambda: _answered(board, V1) > before + 50, "the incumbent serves again")
    again = _offer(board, _next(board), bad)
    assert again.outcome is not None
    assert again.outcome.result == "rejected"
    assert again.outcome.reason.startswith("in quarantine")
    assert _switches(board) == switches + 1
    assert len(_events(board, "reverted")) == reverts + 1
    tried(f"1 version, offered twice: {slot.outcome.reason}")


def test_one_that_crashes_in_its_self_test_never_gets_so_far(board: Shore) -> None:
    bad, switches = dense_versions.make(7, LIMITS, tail=tail("crashing-early")), _switches(board)
    slot = _offer(board, _next(board), bad)
    assert slot.outcome is not None
    assert (slot.outcome.result, slot.outcome.phase) == ("rejected", "self-test")
    assert "SIGSEGV" in slot.outcome.reason
    assert slot.serving == V1.assignment.ref
    assert _switches(board) == switches


def test_without_the_limits_they_are_committed(tmp_path: Path, tried: Tried) -> None:
    """Negative control: the same versions with every limit switched off. A crash has no limit."""
    makes = (_collapsed(OFF), _slow(OFF), _nan(OFF_UNANSWERED), _leaking(OFF_FOR_LONG))
    with _serving(tmp_path) as shore:
        for generation, bad in enumerate(makes, 2):
            slot = _offer(shore, generation, bad)
            assert slot.outcome is not None
            assert slot.outcome.result == "committed", slot.outcome.reason
            assert slot.serving == bad.assignment.ref
    tried(f"{len(makes)} bad versions, all committed")
