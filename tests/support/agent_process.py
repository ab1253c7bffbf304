"""The real agent as a process, with a directory of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.cargo_hold import DEVICE, FLEET

LIMIT_S = 20

MODULES = Path(__file__).parent / "board_modules"


def as_on_a_board() -> dict[str, str]:
    """The environment without what structlog would import here and on no board."""
    paths = [str(MODULES), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


class AgentProcess:
    """Standard error goes to `agent.log` in the directory. Each runtime that it may use is tried at its start."""

    def __init__(
        self, directory: Path, port: int, protocol: str = "auto", host: str = "127.0.0.1", device: str = DEVICE,
        module: str = "wherry.agent", window_s: float = 1.0, runtime: str = "auto",
    ) -> None:  # fmt: skip
        self.directory, self.module = directory, module
        self.log = directory / "agent.log"
        self.config = directory / "agent.toml"
        self.config.write_text(
            f'device = "{device}"\nfleet = "{FLEET}"\nstate_dir = "state"\ntelemetry_window_s = {window_s}\n'
            f'runtime = "{runtime}"\n'
            f'[broker]\nhost = "{host}"\nport = {port}\nprotocol = "{protocol}"\nreconnect_limit_s = 1.0\n'
            "[artifacts]\nstall_s = 1.0\ndisk_reserve_bytes = 0\nram_reserve_bytes = 0\n"
            f'[slots.main.feed]\ndirectory = "feed"\nrate_hz = 100\n'
        )
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, "run", "--config", str(self.config)],
                stderr=log,
                env=as_on_a_board(),
            )

    def kill(self) -> None:
        """As a power cut for this process: no goodbye."""
        self.process.kill()
        self.process.wait(LIMIT_S)

    def start_again(self) -> None:
        assert self.process.poll() is not None
        self.process = self._start()

    def stop(self) -> int:
        """Ask it to leave; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)
