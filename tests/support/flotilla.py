"""A real controller with real boards around it, commanded over HTTP as an operator would."""

import functools
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.support import broker, dense_versions, lookout
from tests.support.aftermath import told_on_failure
from tests.support.agent_process import AgentProcess
from tests.support.cargo_hold import FLEET, Version
from tests.support.controller_process import ControllerProcess
from tests.support.wait import wait_until
from wherry.controller.core.plan import RolloutPlan
from wherry.protocol import topics
from wherry.protocol.manifest import HealthLimits, decode_manifest

LIMIT_S = 60.0
"""For a whole rollout, on a machine that others use too."""

BLOCKS = f"{topics.ROOT}/{FLEET}/b/#"
QUICK = HealthLimits(min_inferences=20, probation_s=0.5, deadline_s=60, p95_ratio=1000)
TOO_SLOW = HealthLimits(min_inferences=20, probation_s=0.5, deadline_s=60, p95_ms=0.0001)


class Flotilla:
    """`controller` and `agents` by device. Everything that it answers is plain JSON."""

    def __init__(self, directory: Path, controller: ControllerProcess) -> None:
        self.directory = directory
        self.controller = controller
        self.agents: dict[str, AgentProcess] = {}
        # A connection for each request: controllers are killed here.
        self.client = httpx.Client(timeout=20, limits=httpx.Limits(max_keepalive_connections=0))

    @property
    def mqtt_port(self) -> int:
        return self.controller.started.mqtt_port

    def launch(self, *devices: str, protocol: str = "auto") -> None:
        """Start boards, and wait until the controller knows what they can run."""
        for device in devices:
            directory = self.directory / device
            dense_versions.write_feed(directory / "feed", 1)
            self.agents[device] = AgentProcess(directory, self.mqtt_port, protocol, device=device)
        wait_until(functools.partial(self._known, set(devices)), f"{devices} are known", LIMIT_S)

    def _known(self, devices: set[str]) -> bool:
        born = {entry["id"] for entry in self.get("/devices") if entry["birth"] and entry["slots"]}
        return devices <= born

    def get(self, path: str) -> Any:
        return self._http("GET", path)

    def post(self, path: str, body: object = None) -> Any:
        return self._http("POST", path, msgspec.json.encode(body))

    def _http(self, method: str, path: str, content: bytes | None = None) -> Any:
        port = self.controller.started.url.rsplit(":", 1)[1]  # the host is how devices are told to find it
        answer = self.client.request(method, f"http://127.0.0.1:{port}/api/v1{path}", content=content)
        answer.raise_for_status()
        return answer.json()

    def upload(self, version: Version) -> str:
        """Put the blobs and register the manifest; the name that it was given, as `dense:1`."""
        (_, manifest), *blobs = version.blobs
        for ref, data in blobs:
            self._http("PUT", f"/artifacts/{ref.digest}", data)
        bare = msgspec.structs.replace(decode_manifest(manifest), version=0)
        return str(self.post(f"/models/{bare.model}/versions", {"manifest": bare})["name"])

    def begin(self, name: str, *, paused: bool = False, **more: Any) -> int:
        """Start a rollout without patience; its id."""
        model, version = name.split(":")
        plan = RolloutPlan(model=model, version=int(version), **({"soak_s": 0.0, "min_inferences": 10} | more))
        return int(self.post("/rollouts", {"plan": plan, "paused": paused})["id"])

    def rollout(self, rollout: int) -> Any:
        return self.get(f"/rollouts/{rollout}")

    def await_end(self, rollout: int, state: str) -> Any:
        """The rollout once it has ended, which must be in `state`."""
        wait_until(lambda: not self.rollout(rollout)["live"], f"rollout {rollout} ends", LIMIT_S)
        found = self.rollout(rollout)
        assert found["state"] == state, found
        return found

    def await_phase(self, device: str, *phases: str) -> None:
        wait_until(lambda: self._phase(device) in phases, f"{device} is in {phases}", LIMIT_S)

    def _phase(self, device: str) -> str:
        slots = self.get(f"/devices/{device}")["device"]["slots"]
        return str(slots[0]["phase"]) if slots else ""

    def serving(self) -> dict[str, str]:
        """What each board says that it serves."""
        found = {}
        for entry in self.get("/devices"):
            serving = entry["slots"][0].get("serving") if entry["slots"] else None
            found[entry["id"]] = f"{serving['model']}:{serving['version']}" if serving else ""
        return found

    def events(self, device: str, kind: str) -> list[Any]:
        return [event for event in self.get(f"/devices/{device}/events?max_events=1000") if event["kind"] == kind]

    def logged(self, device: str, kind: str) -> list[Any]:
        """What the board itself wrote down, which no broker can lose."""
        lines = self.agents[device].log.read_text().splitlines()
        entries = [msgspec.json.decode(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [entry for entry in entries if entry["event"] == kind]

    @contextmanager
    def asleep(self, device: str) -> Iterator[None]:
        """The board stands still meanwhile, so no rollout that has it comes to its end."""
        process = self.agents[device].process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def await_published(self, version: Version) -> None:
        """Wait until the broker of this connection has acknowledged every block of the artifact."""
        digest = version.assignment.artifact
        wait_until(lambda: digest in self.get("/status")["published"], "the blocks are published", LIMIT_S)

    def await_cleared(self) -> None:
        """Wait until the broker retains no block, and no marker says that it does."""
        markers = self.controller.data_dir / "published"
        wait_until(lambda: not list(markers.iterdir()), "all markers are gone", LIMIT_S)
        with lookout.looking(self.mqtt_port) as looking:
            wait_until(lambda: looking.retained(BLOCKS) == {}, "no block is retained", LIMIT_S)


@contextmanager
def sailing(directory: Path, kind: str, *, controller_protocol: str = "", **config: Any) -> Iterator[Flotilla]:
    """A controller with its own broker of `kind`, or with an `external` mosquitto that others run."""
    with ExitStack() as stack, told_on_failure(directory):
        if kind == "external":
            port = stack.enter_context(broker.running("mosquitto", directory))
            config |= {"mqtt_port": port}
        elif kind == "mosquitto":
            broker.require_mosquitto()
        controller = ControllerProcess(directory, protocol=controller_protocol, broker=kind, **config)
        stack.callback(lambda: controller.process.poll() is None and controller.kill())
        flotilla = Flotilla(directory, controller)
        stack.callback(flotilla.client.close)
        stack.callback(lambda: [agent.kill() for agent in flotilla.agents.values() if agent.process.poll() is None])
        yield flotilla
