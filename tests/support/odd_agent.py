"""The real agent, whose workers are those of `odd_worker.py`: `python -m tests.support.odd_agent run --config FILE`."""

import sys

from wherry.agent import __main__ as agent
from wherry.agent.adapters import worker_process


def command(fd: int) -> list[str]:
    return [sys.executable, "-m", "tests.support.odd_worker", "--fd", str(fd)]


if __name__ == "__main__":
    worker_process.command = command
    sys.exit(agent.main())
