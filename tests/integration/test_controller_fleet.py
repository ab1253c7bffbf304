"""The real controller and real boards, over every broker and both versions of MQTT."""

from pathlib import Path

import pytest

from tests.support import dense_versions
from tests.support.flotilla import QUICK, TOO_SLOW, sailing
from wherry.controller.core.plan import WaveStep

pytestmark = pytest.mark.slow

V1, SLOW = dense_versions.make(1, QUICK), dense_versions.make(2, TOO_SLOW)
WAVES = (WaveStep(amount=1), WaveStep(amount=100, percent=True))
EVERY_WAY = [("mosquitto", "V5", "5"), ("external", "V311", "3.1.1"), ("amqtt", "", "auto")]


@pytest.mark.parametrize(("kind", "controller_protocol", "agent_protocol"), EVERY_WAY)
def test_a_good_version_reaches_every_board_and_a_bad_one_is_taken_back(
    tmp_path: Path, kind: str, controller_protocol: str, agent_protocol: str
) -> None:
    with sailing(tmp_path, kind, controller_protocol=controller_protocol) as fleet:
        fleet.launch("boat-1", "boat-2", protocol=agent_protocol)
        status = fleet.get("/status")
        assert (status["ok"], status["devices"], status["online"]) == (True, 2, 2)
        assert status["broker"]["protocol"] == (controller_protocol or ("V311" if kind == "amqtt" else "V5"))
        good = fleet.upload(V1)
        done = fleet.await_end(fleet.begin(good, waves=WAVES), "completed")
        assert done["counts"] == {"committed": 2}
        assert fleet.serving() == {"boat-1": "dense:1", "boat-2": "dense:1"}
        taken_back = fleet.await_end(fleet.begin(fleet.upload(SLOW), waves=WAVES), "reverted")
        assert taken_back["counts"] == {"reverted": 1, "waiting": 1}
        assert "limit 0.0001 ms" in taken_back["reason"]
        assert fleet.serving() == {"boat-1": "dense:1", "boat-2": "dense:1"}
        fleet.await_cleared()
        status = fleet.get("/status")
        assert (status["broker"]["refused"], status["broker"]["connections"]) == (0, 1)
        assert fleet.controller.stop() == 0
