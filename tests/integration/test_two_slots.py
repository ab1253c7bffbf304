"""Two slots of one real agent, each with a version, sockets and an app of its own: neither feels the other."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from tests.support import children, dense_versions
from tests.support.agent_process import AgentProcess
from tests.support.broker import running
from tests.support.cargo_hold import Version
from tests.support.shore import Shore
from tests.support.wait import wait_until
from wherry.agent.client import Client
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.up import Reported

pytestmark = pytest.mark.slow

NO_WAIT = HealthLimits(min_inferences=0, probation_s=0.1, deadline_s=60)


def in_slot(version: Version, slot: str) -> Version:
    return Version(replace(version.assignment, slot=slot), version.blobs)


def served(shore: Shore) -> dict[str, tuple[str, int | None]]:
    reports = shore.all(Reported)
    slots = reports[-1].slots if reports else ()
    return {slot.slot: (slot.phase, slot.serving and slot.serving.version) for slot in slots}


def test_each_slot_serves_its_own_and_feels_nothing_of_the_other(tmp_path: Path) -> None:
    left, right = dense_versions.make(1, NO_WAIT), in_slot(dense_versions.make(2, NO_WAIT), "right")
    bad = in_slot(dense_versions.make(3, NO_WAIT, wrong_golden=True), "right")
    x = np.ones(dense_versions.FEATURES, np.int8)
    with running("mosquitto", tmp_path) as port:
        shore, agent = Shore(port), AgentProcess(tmp_path, port)
        try:
            agent.kill()
            text = agent.config.read_text().split("[slots.main.feed]")[0]
            agent.config.write_text(text + "[slots.main]\n[slots.right]\n")
            agent.start_again()
            for version in (left, right, bad):
                shore.publish(version)
            shore.want(1, left, right)
            wait_until(lambda: served(shore) == {"main": ("running", 1), "right": ("running", 2)}, "both run", 60)
            sockets = tmp_path / "state" / "sockets"
            with Client("main", directory=sockets) as one, Client("right", directory=sockets) as two:
                assert (one.infer(x).version, two.infer(x).version) == (1, 2)
                before = {worker.pid for worker in children.workers(agent.process.pid)}
                shore.want(2, left, bad)
                shore.await_event("rejected")
                assert (one.infer(x).version, two.infer(x).version) == (1, 2)
                assert {worker.pid for worker in children.workers(agent.process.pid)} >= before
                for pid in before:
                    os.kill(pid, signal.SIGKILL)
                assert (one.infer(x).version, two.infer(x).version) == (1, 2)
        finally:
            shore.close()
            assert agent.stop() == 0
