"""The real agent, but taking over the desired document of generation 2 kills it: `run --config FILE`.

Nothing in it is caught: it dies of SIGKILL, as of a fault in an interpreter or of too little memory.
"""

import os
import signal
import sys

from wherry.agent import supervisor
from wherry.agent.__main__ import main
from wherry.agent.core.desired import Accepted, accept
from wherry.agent.core.record import DeviceRecord
from wherry.protocol.down import Desired

POISON = 2


def deadly(record: DeviceRecord, desired: Desired, slots: tuple[str, ...]) -> Accepted | None:
    if desired.generation == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return accept(record, desired, slots)


if __name__ == "__main__":
    supervisor.accept = deadly  # type: ignore[attr-defined]
    sys.exit(main())
