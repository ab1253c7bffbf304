"""Damages an artifact on the broker: replaces one retained block by other bytes, as a fault or a thief would."""

import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from examples.voyage.waiting import NotAsTold
from wherry.protocol import topics

TIMEOUT_S = 20.0


def replace_block(host: str, port: int, fleet: str, digest: str, index: int) -> bytes:
    """Wait for block `index` to lie on the broker, put as many other bytes there, and see that they lie there.

    Returns the bytes that were replaced. Raises NotAsTold where the block does not appear.
    """
    topic = topics.block(fleet, digest, index)
    seen: list[bytes] = []
    arrived = threading.Semaphore(0)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="saboteur")

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        seen.append(bytes(message.payload))
        arrived.release()

    client.on_message = on_message
    client.connect(host, port)
    client.loop_start()
    try:
        client.subscribe(topic, qos=1)
        if not arrived.acquire(timeout=TIMEOUT_S):
            raise NotAsTold(f"block {index} of {digest[:12]} does not lie on the broker")
        damaged = bytes(byte ^ 0xFF for byte in seen[0])
        client.publish(topic, damaged, qos=1, retain=True)
        while seen[-1] != damaged:
            if not arrived.acquire(timeout=TIMEOUT_S):
                raise NotAsTold("the damaged block did not come back from the broker")
    finally:
        client.disconnect()
        client.loop_stop()
    return seen[0]
