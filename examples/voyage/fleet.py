"""Six agents as separate processes, each with a directory and a feed of held-out digits of its own."""

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from examples.voyage.harbour import FLEET

RUNTIMES = ("litert", "tflite-runtime")
FEED_RATE_HZ = 25
"""Slow enough that even the version that is far too slow keeps up."""


@dataclass
class Agent:
    """One board: its directory, its configuration, and the process while it runs."""

    device: str
    runtime: str
    directory: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.directory / "agent.log"

    def configure(self, mqtt_host: str, mqtt_port: int, digits: Path) -> None:
        """Write the configuration, and the held-out digits in an order of the board's own."""
        feed = self.directory / "feed"
        feed.mkdir(parents=True)
        with np.load(digits) as arrays:
            order = np.random.default_rng(int(self.device.rpartition("-")[2])).permutation(len(arrays["x"]))
            np.savez(feed / "digits.npz", x=arrays["x"][order], y=arrays["y"][order])
        (self.directory / "agent.toml").write_text(
            f"""\
device = "{self.device}"
fleet = "{FLEET}"
state_dir = "{self.directory / "state"}"
runtime = "{self.runtime}"
telemetry_window_s = 1.0

[labels]
runtime = "{self.runtime}"

[broker]
host = "{mqtt_host}"
port = {mqtt_port}

[slots.main.feed]
directory = "{feed}"
rate_hz = {FEED_RATE_HZ}
"""
        )

    def start(self) -> None:
        program = Path(sys.executable).with_name("wherry-agent")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "run", "--config", self.directory / "agent.toml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """As power loss would: `kill -9`, without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def six(directory: Path) -> list[Agent]:
    """Three boards a runtime, named so that the first wave takes one of each kind in turn."""
    return [
        Agent(device=f"pi-{number}", runtime=RUNTIMES[(number - 1) % 2], directory=directory / f"pi-{number}")
        for number in range(1, 7)
    ]
