"""The embedded broker, for machines without mosquitto: `python -m …amqtt_broker HOST PORT`.

amqtt is written in Python and speaks MQTT 3.1.1 only. It keeps nothing on disk: after a restart the
controller publishes again what is wanted, and the devices say again what is true; events said before
the controller has subscribed again are lost. A message that was on its way to a client when its session
ended is lost; those said while it is away wait for it.
"""

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

SESSION_EXPIRY_S = 14 * 24 * 3600


class AdmitAll(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Admits whoever reaches the listener, and keeps the sessions; amqtt's own forgets anonymous ones."""

    async def authenticate(self, *, session: Session) -> bool:  # noqa: ARG002 - amqtt's signature
        return True


def configuration(host: str, port: int) -> dict[str, object]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}", "max_connections": -1}},
        "session_expiry_interval": SESSION_EXPIRY_S,
        "plugins": {"wherry.controller.adapters.amqtt_broker.AdmitAll": {}},
    }


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    broker = Broker(configuration(host, port))
    await broker.start()
    await stopped.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
