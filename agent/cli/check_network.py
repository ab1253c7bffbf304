"""Checks of the network: the broker as the agent would use it, and the controller's files where they are known.

Rules upheld here:
- Another client id than the agent's, a clean session and no will: whoever asks takes nothing from the running agent.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.cli.check import Check, fail, ok, warn
from wherry.agent.config import BrokerConfig, Config
from wherry.agent.errors import NewerFormat, StoreError

LIMIT_S = 5.0
SUFFIX = "-doctor"


def check_broker(config: Config) -> Iterator[Check]:
    """TCP first, then CONNECT over each version of MQTT that the configuration allows."""
    broker = config.broker
    where = f"{broker.host}:{broker.port}"
    try:
        socket.create_connection((broker.host, broker.port), LIMIT_S).close()
    except OSError as error:
        says = f"nobody answers at {where}: {error.strerror or error}"
        yield fail("broker", says, "see that it runs, that broker.host and broker.port are right, and the firewall")
        return
    protocols = ["5", "3.1.1"] if broker.protocol == "auto" else [broker.protocol]
    reasons = []
    for protocol in protocols:
        reason = _connect(broker, config.device + SUFFIX, protocol)
        if reason is None:
            yield ok("broker", f"{where} takes connections over MQTT {protocol}")
            return
        reasons.append(f"MQTT {protocol}: {reason}")
    fix = "see that it is an MQTT broker, and lets this device in"
    yield fail("broker", f"{where} does not let a client in ({'; '.join(reasons)})", fix)


def _connect(broker: BrokerConfig, client_id: str, protocol: str) -> str | None:
    """Why it was not let in, None where it was."""
    modern = protocol == "5"
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id, clean_session=None if modern else True,
        protocol=MQTTProtocolVersion.MQTTv5 if modern else MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False,
    )  # fmt: skip
    answered, said = threading.Event(), ["no answer"]

    def connected(*answer: object) -> None:
        code = answer[3]
        said[0] = str(code) if getattr(code, "is_failure", True) else ""
        answered.set()

    client.on_connect = connected
    client.on_disconnect = lambda *_: answered.set()
    client.connect_timeout = LIMIT_S
    try:
        client.connect(broker.host, broker.port, broker.keepalive_s)
    except (OSError, ValueError) as error:
        return str(error)
    client.loop_start()
    answered.wait(LIMIT_S)
    with contextlib.suppress(OSError):
        client.disconnect()
    client.loop_stop()
    return said[0] or None


def check_controller(config: Config) -> Iterator[Check]:
    """Where versions can be had over HTTP, as the newest document said."""
    try:
        record = RecordFile(Path(config.state_dir)).load()
    except (NewerFormat, StoreError):
        record = None
    if record is None or record.artifacts_url is None:
        yield ok("controller", "no address for files over HTTP is known; they come over MQTT")
        return
    yield _reach(record.artifacts_url)


def _reach(url: str) -> Check:
    import httpcore

    nothing = f"{url}/{'0' * 64}"
    try:
        answer = httpcore.request(
            "GET", nothing, headers=[("Host", urlsplit(url).netloc)],
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), LIMIT_S)},
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001  whatever the network does is the answer
        says = f"{url} cannot be reached: {str(error) or type(error).__name__}"
        return warn("controller", says, "files come over MQTT meanwhile; see that this board may reach the controller")
    if answer.status not in (200, 404):
        return warn("controller", f"{url} answers with HTTP status {answer.status}", "see what stands in between")
    return ok("controller", f"{url} answers")
