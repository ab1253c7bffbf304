"""`python -m wherry.agent.worker --fd N`: wiring only. N is the inherited end of the control channel."""

import argparse
import socket
import sys

from wherry.agent.worker import runtimes
from wherry.agent.worker.channel import WorkerChannel
from wherry.agent.worker.errors import ChannelBroken
from wherry.agent.worker.session import Session
from wherry.agent.worker.tether import ignore_interrupts, tie_to_parent
from wherry.protocol.first_use import learn_types


def main() -> int:
    parser = argparse.ArgumentParser(prog="wherry.agent.worker", description="Started by the agent, not by hand.")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket of the control channel")
    ignore_interrupts()
    tie_to_parent()
    learn_types()
    with socket.socket(fileno=parser.parse_args().fd) as sock:
        try:
            return Session(WorkerChannel(sock), runtimes.load).run()
        except ChannelBroken as error:
            sys.stderr.write(f"{parser.prog}: {error}\n")
            return 1


if __name__ == "__main__":
    sys.exit(main())
