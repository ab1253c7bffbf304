"""Runs an agent that carries out one order and is killed on the way, for real, at a point that is named.

`python -m tests.support.order_kill DIRECTORY KIND POINT [--forgetful]`: POINT is `before-save`, `after-save` or
`after-effect`. With `--forgetful` the id is not on disk before the effect, which a negative control needs.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support.cargo_hold import DEVICE, FLEET, make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from wherry.agent.adapters.store import Store
from wherry.agent.core.record import DeviceRecord
from wherry.agent.orders import Orders
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.down import Action

GOOD, BAD = make_version(1), make_version(2)
ORDER_ID = "once"


def prepare(directory: Path) -> Rig:
    """One version serves, another one is in quarantine."""
    rig = Rig(directory).boot()
    rig.deploy(1, GOOD)
    rig.conduct[BAD.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, BAD)
    return rig


def send(rig: Rig, kind: str) -> None:
    action = Action(id=ORDER_ID, kind=kind, not_after_s=rig.clock.wall_s() + 3600)  # type: ignore[arg-type]
    rig.deliver(topics.down(FLEET, DEVICE, "action"), encode(action))


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(point: str) -> None:
    save, do = Store.save, Orders._do

    def saving(store: Store, record: DeviceRecord) -> None:
        is_it = record.executed != store.record.executed
        if is_it and point == "before-save":
            _die()
        save(store, record)
        if is_it and point == "after-save":
            _die()

    def doing(orders: Orders, action: Any) -> str | None:
        if point == "after-save":
            _die()  # where a forgetful agent saves nothing
        answer = do(orders, action)
        if point == "after-effect":
            _die()
        return answer

    Store.save, Orders._do = saving, doing  # type: ignore[method-assign]


def main(directory: str, kind: str, point: str, *forgetful: str) -> None:
    rig = prepare(Path(directory))
    if forgetful:
        DeviceRecord.with_executed = lambda record, _action_id: record  # type: ignore[method-assign]
    _arm(point)
    send(rig, kind)


if __name__ == "__main__":
    main(*sys.argv[1:])
