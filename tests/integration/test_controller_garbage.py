"""Whatever anybody says on the fleet's topics is counted or ignored; the session and the honest boards go on."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cargo_hold import FLEET
from tests.support.controller_values import make_birth
from tests.support.flotilla import LIMIT_S, Flotilla, sailing
from tests.support.lookout import looking
from tests.support.wait import wait_until
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.topics import UP_KINDS
from wherry.protocol.types import MAX_COUNT
from wherry.protocol.up import Event, Status

pytestmark = pytest.mark.slow

ROOT = f"{topics.ROOT}/{FLEET}"
CHANCE = random.Random(7)
NOISE = [CHANCE.randbytes(CHANCE.randrange(1, 2000)) for _ in range(10)]
MEGABYTE = b'{"type":"event","reason":"' + b"x" * 1_000_000 + b'"}'
HOSTILE = [
    b"{", b"null", b"[]", b"\xff\xfe", b"[" * 20_000, b'{"type":"down"}',
    b'{"type":"desired","epoch":1,"generation":9}',
    b'{"type":"status","presence":"online","session":1e999}', b'{"type":"status","presence":"online","session":-1}',
    b'{"type":"status","presence":"online","session":' + b"9" * 400 + b"}",
    b'{"type":"status","presence":"online","session":"\\ud800"}', MEGABYTE,
]  # fmt: skip
"""No message of any kind."""

STRANGERS = ["", "UPPER", "a" * 64, "a b", "..", "boat_1", "böot", "0/0", "$SYS"]
"""No ids of devices; the second to last has a level too many and is not even delivered."""

OVERFLOWING = Status(presence="online", session=2**63)
IMPOSSIBLE_DAMAGE = Event(boot_id="b", seq=1, at_s=1.0, kind="block-damaged", digest="0" * 64, block=MAX_COUNT)


@pytest.fixture(params=["mosquitto", "amqtt"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flotilla]:
    with sailing(tmp_path, request.param) as fleet:
        yield fleet


def _counted(fleet: Flotilla) -> int:
    broker = fleet.get("/status")["broker"]
    assert broker["connections"] == 1, "the session was never lost"
    return int(broker["refused"])


def test_garbage_is_counted_and_ends_nothing(fleet: Flotilla) -> None:
    up = [f"{ROOT}/d/boat-1/up/{kind}" for kind in UP_KINDS]
    ignored = [f"{ROOT}/d/boat-1/down/status", f"{ROOT}/d/boat-1/up", f"{ROOT}/b/0/hashes", "wherry/v2/x", "elsewhere"]
    with looking(fleet.mqtt_port) as lookout:
        expected = 0
        for payload in [*NOISE, *HOSTILE]:
            lookout.publish(dict.fromkeys(up, payload), retain=False)
            expected += len(up)
        lookout.publish(dict.fromkeys(ignored, b"x"), retain=False)
        for stranger in STRANGERS:
            lookout.publish(
                {f"{ROOT}/d/{stranger}/up/status": encode(Status(presence="online", session=1))}, retain=False
            )
            expected += "/" not in stranger
        lookout.publish(
            {f"{ROOT}/d/boat-1/up/gossip": b"x", f"{ROOT}/d/boat-1/up/status": encode(OVERFLOWING)}, retain=False
        )
        expected += 2
        lookout.publish({f"{ROOT}/d/boat-1/up/event": encode(IMPOSSIBLE_DAMAGE)}, retain=False)
        lookout.publish({f"{ROOT}/d/boat-2/up/birth": encode(make_birth())}, retain=True)
        lookout.publish({f"{ROOT}/d/boat-2/up/status": encode(Status(presence="online", session=1))}, retain=True)
        wait_until(lambda: any(entry["presence"] == "online" for entry in fleet.get("/devices")), "boat-2", LIMIT_S)
    assert _counted(fleet) == expected
    assert {entry["id"] for entry in fleet.get("/devices")} == {"boat-1", "boat-2"}, "boat-1 by its event alone"
    assert fleet.get("/status")["ok"]


def test_retained_garbage_is_heard_again_at_a_start_and_does_not_hinder_it(tmp_path: Path) -> None:
    with sailing(tmp_path, "mosquitto") as fleet:
        retained = {f"{ROOT}/d/boat-{len(payload)}/up/birth": payload for payload in (b"\xff", MEGABYTE)}
        with looking(fleet.mqtt_port) as lookout:
            lookout.publish(retained, retain=True)
        wait_until(lambda: _counted(fleet) == len(retained), "both are counted", LIMIT_S)
        assert fleet.controller.stop() == 0
        fleet.controller.start()
        wait_until(lambda: _counted(fleet) == len(retained), "both are counted again", LIMIT_S)
        assert fleet.get("/status")["ok"]
