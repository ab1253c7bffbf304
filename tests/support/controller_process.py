"""The real controller as a process, to be killed and started again; `python -m …` runs the one of a JSON file.

Ports are free ones at the first start and the same ones afterwards, since devices know them.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import psutil

from tests.support.cargo_hold import FLEET
from tests.support.wait import wait_until
from wherry.controller import service
from wherry.controller.config import RUN_FILE, ControllerConfig, RunFile

LIMIT_S = 40.0
CONVERTER = "WHERRY_TEST_CONVERTER"
"""A script to convert with, instead of the converters."""

PROTOCOL = "WHERRY_TEST_PROTOCOL"
"""`V5` or `V311`: the only version of MQTT that the controller's session tries."""


class ControllerProcess:
    """What it says goes to `controller.log` beside the data directory. `started` tells where it answers."""

    module = __name__
    """What the process runs."""

    def __init__(self, directory: Path, *, protocol: str = "", converter: str = "", **config: Any) -> None:
        self.data_dir = directory / "data"
        self.log = directory / "controller.log"
        self._file = directory / "controller-config.json"
        self._environment = os.environ | ({PROTOCOL: protocol} if protocol else {})
        self._environment |= {CONVERTER: converter} if converter else {}
        self._config = {"data_dir": str(self.data_dir), "fleet": FLEET, "tick_s": 0.1, "http_port": 0, "mqtt_port": 0}
        self._config |= config
        self.start()

    def start(self) -> RunFile:
        """Return when it answers."""
        self._file.write_bytes(msgspec.json.encode(self._config))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, str(self._file)], stdout=log, stderr=log, env=self._environment
            )
        self.started = wait_until(self._answering, "the controller answers", LIMIT_S)
        self._config |= {"http_port": int(self.started.url.rsplit(":", 1)[1]), "mqtt_port": self.started.mqtt_port}
        return self.started

    def _answering(self) -> RunFile | None:
        assert self.process.poll() is None, self.log.read_text()
        path = self.data_dir / RUN_FILE
        found = msgspec.json.decode(path.read_bytes(), type=RunFile) if path.exists() else None
        return found if found is not None and found.pid == self.process.pid else None

    @property
    def broker(self) -> psutil.Process:
        """The broker that it keeps."""
        return wait_until(lambda: psutil.Process(self.process.pid).children(), "it has a broker")[0]

    def kill(self) -> None:
        """As a power cut for this process: no goodbye."""
        self.process.kill()
        self.process.wait(LIMIT_S)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)


def main(path: Path) -> None:
    """Run the controller that the file describes."""
    protocol = os.environ.get(PROTOCOL)
    if protocol:
        service.PROTOCOLS = (aiomqtt.ProtocolVersion[protocol],)
    if os.environ.get(CONVERTER):
        service.CONVERTER = (sys.executable, os.environ[CONVERTER])
    values = msgspec.json.decode(path.read_bytes())
    paths = {name: Path(values[name]) for name in ("data_dir", "shared_dir") if name in values}
    config = ControllerConfig(**(values | paths))
    asyncio.run(service.run(config, lambda _run: None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
