"""A real controller with its mosquitto, devices that are played, and somebody who listens and publishes with paho."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks.controller_devices import GO, READY, REAL, Order
from benchmarks.form import ROOT, Failed
from tests.support.controller_process import ControllerProcess
from tests.support.flotilla import Flotilla

POLL_S = 0.005
LIMIT_S = 600.0
"""A machine with much else to do is slow, and no figure is better than none."""
DEVICES_PER_PROCESS = 500


class Listener:
    """A bare subscriber in this process: counts by topic filter, keeps the newest payload by topic."""

    def __init__(self, port: int, name: str) -> None:
        self.counts: Counter[str] = Counter()
        self.newest: dict[str, bytes] = {}
        self.news = threading.Condition()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv311)
        self.client.max_inflight_messages_set(100)
        self.client.on_message = self._heard
        self._subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def subscribe(self, *filters: str) -> None:
        """Return when the subscriptions stand."""
        self._subscribed.clear()
        self.client.subscribe([(name, 1) for name in filters])
        if not self._subscribed.wait(LIMIT_S):
            raise Failed("the broker did not take a subscription")

    def unsubscribe(self, name: str) -> None:
        self.client.unsubscribe(name)

    def _heard(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self.news:
            self.counts[message.topic.rpartition("/")[2]] += 1
            self.newest[message.topic] = bytes(message.payload)
            self.news.notify_all()

    def wait_for(self, condition: Callable[[], object], what: str) -> float:
        """When the condition came true, looked at after every message. Raises Failed."""
        with self.news:
            if not self.news.wait_for(condition, LIMIT_S):
                raise Failed(f"not within {LIMIT_S:g} s: {what}")
            return time.perf_counter()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Sea:
    def __init__(self, controller: ControllerProcess, flotilla: Flotilla, listener: Listener) -> None:
        self.controller, self.flotilla, self.listener = controller, flotilla, listener

    @contextmanager
    def devices(self, count: int) -> Iterator[None]:
        """So many, played by a few processes and known to the controller."""
        firsts = range(0, count, DEVICES_PER_PROCESS)
        command = [sys.executable, "-m", "benchmarks.controller_devices", str(self.controller.started.mqtt_port)]
        self.listener.subscribe(READY)
        before = self.listener.counts["ready"]
        players = [
            subprocess.Popen([*command, str(first), str(min(DEVICES_PER_PROCESS, count - first))], cwd=ROOT)
            for first in firsts
        ]
        try:
            self.listener.wait_for(lambda: self.listener.counts["ready"] >= before + len(players), "devices connect")
            self.order(Order(fleet=REAL))
            born = "SELECT count(*) FROM devices WHERE birth IS NOT NULL AND reported IS NOT NULL"
            self.await_rows(born, count, "all devices are known")
            yield
        finally:
            for player in players:
                player.kill()
                player.wait()

    def order(self, order: Order) -> float:
        """When it was given."""
        started_s = time.perf_counter()
        self.listener.client.publish(GO, msgspec.json.encode(order), qos=1)
        return started_s

    def value(self, query: str) -> int:
        path = self.controller.data_dir / "controller.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute(query).fetchone()[0])

    def await_rows(self, query: str, least: int, what: str) -> float:
        """When the query first gave so much, looked at every `POLL_S`. Raises Failed."""
        deadline_s = time.monotonic() + LIMIT_S
        while self.value(query) < least:
            if time.monotonic() > deadline_s:
                raise Failed(f"not within {LIMIT_S:g} s: {what}")
            time.sleep(POLL_S)
        return time.perf_counter()


@contextmanager
def sea(directory: Path) -> Iterator[Sea]:
    """The controller ticks as often as it does by default. Raises Failed where mosquitto is missing."""
    with ExitStack() as stack:
        with chdir(ROOT):  # where the process finds its module
            controller = ControllerProcess(directory, broker="mosquitto", tick_s=0.5)
        stack.callback(lambda: controller.process.poll() is None and controller.stop())
        flotilla = Flotilla(directory, controller)
        stack.callback(flotilla.client.close)
        listener = Listener(controller.started.mqtt_port, "listener")
        stack.callback(listener.close)
        yield Sea(controller, flotilla, listener)
