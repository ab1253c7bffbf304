"""The controller of the voyage, and the two ways to it: commands as an operator types them, and a look over the API."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from examples.voyage.waiting import NotAsTold, require, wait_for
from wherry.controller.cli.api import Api

FLEET = "voyage"
WHERRY = Path(sys.executable).with_name("wherry")


class Harbour:
    """`say` shows a command before it is run."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.directory = directory
        self.log = directory / "controller.log"
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self.run_file: dict[str, Any] = {}

    def open(self) -> None:
        """Start the controller with a broker of its own, on free ports, and wait until all of it answers."""
        self.directory.mkdir(parents=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [WHERRY, "controller", "--data-dir", self.directory, "--fleet", FLEET, "--http-port", "0",
                 "--mqtt-port", "0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        where = self.directory / "controller.json"
        process = self._process
        wait_for(lambda: where.exists() or process.poll() is not None, "the controller answers")
        require(where.exists(), f"the controller did not start; see {self.log}")
        self.run_file = json.loads(where.read_text())

    @property
    def url(self) -> str:
        """Raises NotAsTold before `open`."""
        require(self.run_file, "there is no controller yet")
        return str(self.run_file["url"])

    @cached_property
    def api(self) -> Api:
        return Api(self.url)

    def order(self, command: str) -> Any:
        """Run `wherry COMMAND --json` and give back what it printed. Raises NotAsTold where it fails."""
        self._say(f"wherry {command}")
        done = self._run([*shlex.split(command), "--json"], capture_output=True)
        if done.returncode != 0:
            raise NotAsTold(done.stderr.decode().strip() or f"wherry {command} ended with {done.returncode}")
        return json.loads(done.stdout)

    def watch(self, command: str) -> int:
        """Run `wherry COMMAND` with its output on the terminal; its exit status."""
        self._say(f"wherry {command}")
        return self._run(shlex.split(command)).returncode

    def _run(self, arguments: list[str], **options: Any) -> "subprocess.CompletedProcess[bytes]":
        environment = os.environ | {"WHERRY_URL": self.url}
        return subprocess.run([WHERRY, *arguments], env=environment, stdin=subprocess.DEVNULL, check=False, **options)

    def device(self, name: str) -> dict[str, Any]:
        """All that is known of a device."""
        found: dict[str, Any] = self.api.get(f"devices/{name}")
        return found

    def rollout(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"rollouts/{number}")
        return found

    def close(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
