"""The broker falls silent while a version is tested, and stays away: the real agent goes back by itself.

That a board which was offline at the switch keeps the version, the negative control, is in `test_broker_lost.py`.
"""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support import dense_versions
from tests.support.agent_process import AgentProcess
from tests.support.broker import running
from tests.support.odd_worker import tail
from tests.support.shore import Shore
from tests.support.wait import wait_until
from wherry.protocol.manifest import HealthLimits

pytestmark = pytest.mark.slow

V1 = dense_versions.make(1)
SLOW_TO_TEST = dense_versions.make(
    8, HealthLimits(min_inferences=5, probation_s=1, deadline_s=5, p95_ratio=1e6), tail=tail("slow")
)
"""Its self-test takes a second, in which the broker is stopped."""


def test_a_version_under_which_the_broker_is_not_reached_goes_back_without_quarantine(tmp_path: Path) -> None:
    with running("mosquitto", tmp_path) as port:
        dense_versions.write_feed(tmp_path / "feed", 1)
        shore, agent = Shore(port), AgentProcess(tmp_path, port, module="tests.support.odd_agent")
        try:
            shore.publish(V1)
            shore.want(1, V1)
            shore.await_outcome(1)
            shore.publish(SLOW_TO_TEST)
            shore.want(2, SLOW_TO_TEST)
            wait_until(lambda: agent.log.read_text().count('"to_phase": "self-test"') == 2, "the self-test begins")
            _broker(port).send_signal(signal.SIGSTOP)
            wait_until(lambda: "in reach before the switch" in agent.log.read_text(), "it goes back", 40)
            _broker(port).send_signal(signal.SIGCONT)
            slot = shore.await_outcome(2, 60)
        finally:
            _broker(port).send_signal(signal.SIGCONT)
            shore.close()
            agent.kill()
    assert slot.outcome is not None
    assert (slot.outcome.result, slot.outcome.phase) == ("reverted", "probation")
    assert slot.outcome.reason == "the broker, in reach before the switch, was not reached within 5 s"
    assert slot.serving == V1.assignment.ref
    assert slot.quarantine == ()


def _broker(port: int) -> psutil.Process:
    """The mosquitto that listens on `port`."""
    children = psutil.Process(os.getpid()).children()
    return next(child for child in children if f"mosquitto-{port}.conf" in " ".join(child.cmdline()))
