"""A version that takes the board off the network goes back; a board that was offline anyway keeps it."""

from pathlib import Path

import pytest

from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from wherry.protocol.up import Telemetry

V1, V2 = make_version(1), make_version(2)
PAST_DEADLINE_S = 70


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    assert rig.slot.incumbent == V1.assignment.ref
    return rig


def _lose_broker(rig: Rig) -> None:
    """The link is gone before anything that was said since the switch is acknowledged."""
    rig.link.online = False
    rig.supervisor.runners["main"]._trial._broker_reached = False


def test_a_version_that_takes_the_board_off_the_network_goes_back_and_is_not_quarantined(rig: Rig) -> None:
    rig.publish(V2)
    rig.want(2, V2)
    _lose_broker(rig)
    assert rig.slot.state == "probation"
    rig.wait(PAST_DEADLINE_S)
    assert rig.slot.state == "running"
    assert rig.slot.incumbent == V1.assignment.ref
    assert rig.slot.quarantine == ()
    rig.link.connect()
    rig.settle()
    (reverted,) = rig.events("reverted")
    assert reverted.reason == "the broker, in reach before the switch, was not reached within 60 s"


def test_it_goes_back_after_a_power_cut_in_probation_too(rig: Rig) -> None:
    rig.publish(V2)
    rig.want(2, V2)
    _lose_broker(rig)
    rig.wait(10)
    rig.cut().boot(online=False)
    assert rig.slot.state == "probation"
    rig.wait(PAST_DEADLINE_S)
    assert rig.slot.incumbent == V1.assignment.ref
    assert rig.slot.quarantine == ()


def test_a_board_that_was_offline_at_the_switch_keeps_the_version_and_commits_it_at_the_first_connection(
    rig: Rig,
) -> None:
    """The negative control of the rule: the same silence, and the version stays."""
    rig.conduct[V2.assignment.artifact] = Conduct(silent_at="serve")
    rig.publish(V2)
    rig.want(2, V2)
    assert rig.slot.state == "switch"
    rig.link.disconnect()
    rig.settle()
    next(worker for worker in rig.yard.workers if worker.artifact == V2.assignment.artifact).serve_at_last()
    rig.settle()
    rig.wait(2 * PAST_DEADLINE_S)
    assert rig.slot.state == "probation"
    rig.link.connect()
    rig.wait(1)
    assert (rig.slot.state, rig.slot.incumbent) == ("running", V2.assignment.ref)


def test_telemetry_that_was_written_to_a_socket_has_reached_nobody(rig: Rig) -> None:
    """paho tells of QoS 0 when it is written, which goes on for a while when the broker is away."""
    rig.conduct[V2.assignment.artifact] = Conduct(silent_at="serve")
    rig.publish(V2)
    rig.want(2, V2)
    rig.link.is_mute = True
    next(worker for worker in rig.yard.workers if worker.artifact == V2.assignment.artifact).serve_at_last()
    rig.settle()
    rig.wait(PAST_DEADLINE_S)
    assert any(telemetry.ref == V2.assignment.ref for telemetry in rig.sent(Telemetry))
    assert rig.slot.incumbent == V1.assignment.ref
    assert rig.slot.quarantine == ()
