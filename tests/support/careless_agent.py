"""The agent with one fault, for a negative control: a thread of its own gives the heartbeat, whatever the loop does.

Run as `python -m tests.support.careless_agent --config …`.
"""

import sys
import threading

from wherry.agent import __main__ as agent
from wherry.agent.heartbeat import Heartbeat

EVERY_S = 0.05


def start(heartbeat: Heartbeat) -> None:
    heartbeat._manager.tell("READY=1")
    threading.Thread(target=_beat, args=(heartbeat,), daemon=True).start()


def _beat(heartbeat: Heartbeat) -> None:
    while True:
        heartbeat._manager.tell("WATCHDOG=1")
        threading.Event().wait(EVERY_S)


if __name__ == "__main__":
    Heartbeat.start = start  # type: ignore[method-assign]
    sys.exit(agent.main())
