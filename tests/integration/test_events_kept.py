"""Events that only a broker had, and lost when it was killed, still reach whoever listens at the next one."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.agent_process import AgentProcess
from tests.support.broker import free_port, running
from tests.support.lookout import looking
from tests.support.shore import Shore
from tests.support.wait import wait_until
from wherry.protocol.up import Event

pytestmark = pytest.mark.slow


def started_of(shore: Shore) -> list[Event]:
    return [event for event in shore.all(Event) if event.kind == "started"]


def test_what_a_killed_broker_had_acknowledged_comes_again_until_its_receipt(tmp_path: Path) -> None:
    port = free_port()
    with running("mosquitto", tmp_path, port):
        agent = AgentProcess(tmp_path, port)
        with looking(port) as lookout:
            wait_until(lambda: lookout.retained("wherry/v1/test/d/+/up/status"), "the agent is connected")
    spool = tmp_path / "state" / "events"
    try:
        assert list(spool.iterdir()), "nobody gave a receipt"
        os.kill(agent.process.pid, signal.SIGSTOP)  # so that the listener is there before the agent is
        with running("mosquitto", tmp_path, port):
            shore = Shore(port)
            os.kill(agent.process.pid, signal.SIGCONT)
            wait_until(lambda: started_of(shore), "the event of the start comes again")
            shore.receive(*shore.all(Event))
            wait_until(lambda: not list(spool.iterdir()), "what was received is forgotten")
            shore.close()
        assert agent.stop() == 0
    finally:
        if agent.process.poll() is None:
            agent.kill()
