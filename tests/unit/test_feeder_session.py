"""The feeder's session with a broker on the board that hangs up."""

import socket
import threading

import pytest
from paho.mqtt.client import MQTTMessageInfo

from tests.support.rude_broker import CONNACK
from tests.support.wait import wait_until
from wherry.agent.feeder.session import Session


def test_a_broker_that_hangs_up_in_the_middle_of_a_publish_costs_that_result(monkeypatch: pytest.MonkeyPatch) -> None:
    hang_up = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(CONNACK)
            assert hang_up.wait(20)
        listener.close()

    def looked_at(_info: MQTTMessageInfo) -> bool:
        hang_up.set()
        return bool(wait_until(lambda: opened.trouble, "the session has seen the end"))

    listener = socket.create_server(("127.0.0.1", 0))
    broker = threading.Thread(target=serve, args=(listener,), daemon=True)
    broker.start()
    opened = Session(f"127.0.0.1:{listener.getsockname()[1]}", None, None)
    wait_until(lambda: opened.publish("results", b"line"), "a result is on its way")
    monkeypatch.setattr(MQTTMessageInfo, "is_published", looked_at)
    assert not opened.publish("results", b"line")
    assert hang_up.is_set()
    assert not opened.publish("results", b"line")
    opened.close()
    broker.join(20)
