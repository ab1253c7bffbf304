"""Spreads one artifact over many devices by MQTT, and over as many bare subscribers.

What is compared, and why it is fair:
- The same broker process, the same retained blocks, the same number of receiving processes on the same
  cores, one after the other in every repetition. The order to begin goes to all of them over MQTT, the
  last word of each comes back over MQTT, and one clock takes both times.
- An agent is the real program with its real store on the real disk. It has taken the desired document,
  fetched and judged the manifest, fetched blocks and golden vectors, checked every block and the whole
  digest, and made all of it durable, when it says that it goes on to the self-test. The clock stops there.
- Its worker is an idle one (see `workerless_agent`), so that the self-tests of the first do not take
  the processor from the downloads of the last.
- A bare subscriber gets everything for one wildcard subscription and keeps it in memory: nothing is
  checked, nothing written. That is the floor, not a downloader; beside it stands a bare subscriber that
  hashes, writes and fsyncs the whole file once, which is the least that a device must do.
- All devices share one disk here, and a board has its own: the agents' fsyncs wait for each other.
"""

import hashlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cargo, fleet
from benchmarks.fleet import Agent
from benchmarks.form import MIB, ROOT, Failed, Result, Row, progress
from benchmarks.shore import Shore
from tests.support.cargo_hold import Version
from wherry.protocol import topics
from wherry.protocol.up import Event

LIMIT_S = 120.0
PHASES = ("preflight", "download", "verify", "self-test")


@dataclass(frozen=True, kw_only=True)
class Round:
    """Seconds from the order to the last one's word; `reached_s` by the phase that the last agent entered."""

    agents_s: float
    bare_s: float
    keeping_s: float
    reached_s: dict[str, float]


def measure(directory: Path, port: int, shore: Shore, protocol: str, *, devices: int, repetitions: int) -> Result:
    names = [f"boat-{number}" for number in range(1, devices + 1)]
    setting = fleet.Setting(module="benchmarks.workerless_agent")
    progress(f"starting {devices} agents and {2 * devices} bare subscribers")
    with (
        fleet.running(directory, names, port, shore, setting) as agents,
        _subscribers("bare", directory, port, protocol, shore, devices, keep=False) as bare,
        _subscribers("keeping", directory, port, protocol, shore, devices, keep=True) as keeping,
    ):
        rounds = []
        for number in range(repetitions + 1):
            rounds.append(_round(number + 1, agents, bare, keeping, shore, directory))
            progress(_told(number, rounds[-1]))
    return _result(rounds[1:], devices)


def _round(
    number: int, agents: list[Agent], bare: list[str], keeping: list[str], shore: Shore, directory: Path
) -> Round:
    version = cargo.version(number)
    shore.publish(version)
    bare_s = _bare(bare, version, shore)
    keeping_s = _bare(keeping, version, shore)
    _check_kept(directory, version, len(keeping))
    reached_s = _agents(2 * number, agents, version, shore)
    shore.clear(version)
    _make_room(2 * number + 1, agents, shore)
    return Round(agents_s=reached_s["self-test"], bare_s=bare_s, keeping_s=keeping_s, reached_s=reached_s)


def _agents(generation: int, agents: list[Agent], version: Version, shore: Shore) -> dict[str, float]:
    started_s = shore.want(generation, version, [agent.device for agent in agents])

    def entered(phase: str) -> dict[str, float]:
        events = shore.heard(Event, started_s)
        return {device: at_s for at_s, device, event in events if event.to_phase == phase and not event.reason}

    def all_verified() -> bool:
        if refused := [event for _, _, event in shore.heard(Event, started_s) if event.kind == "rejected"]:
            raise Failed(f"an agent refused the version: {refused[0].reason}")
        return len(entered("self-test")) == len(agents)

    shore.wait_for(all_verified, "every agent has the artifact", LIMIT_S)
    _check_blobs(agents, version)
    return {phase: max(entered(phase).values()) - started_s for phase in PHASES}


def _make_room(generation: int, agents: list[Agent], shore: Shore) -> None:
    """Have every agent drop the large artifact now: removing it is no part of the next download."""
    version = cargo.ballast(generation)
    shore.publish(version)
    _agents(generation, agents, version, shore)
    shore.clear(version)


def _check_blobs(agents: list[Agent], version: Version) -> None:
    for agent in agents:
        for ref, _ in version.blobs:
            require_blob(agent.blob(ref.digest), agent.device)


def require_blob(path: Path, device: str) -> None:
    """The proof that something was measured: the bytes are on the device's disk, and right. Raises Failed."""
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
        raise Failed(f"{device} said that it has the version, but blob {path.name[:12]} is not there or not right")


def _bare(names: list[str], version: Version, shore: Shore) -> float:
    ref, data = cargo.artifact(version)
    filter_ = topics.block("bench", ref.digest, 0).rsplit("/", 1)[0] + "/+"
    started_s = shore.go(f"{names[0].split('-')[0]} {filter_} {ref.block_count}".encode())
    shore.wait_for(lambda: set(shore.done(started_s)) >= set(names), "every bare subscriber has the blocks", LIMIT_S)
    done = shore.done(started_s)
    if any(size_bytes != len(data) for _, size_bytes in done.values()):
        raise Failed(f"a bare subscriber did not receive {len(data)} bytes")
    return max(at_s for at_s, _ in done.values()) - started_s


def _check_kept(directory: Path, version: Version, copies: int) -> None:
    ref, _ = cargo.artifact(version)
    kept = sorted(directory.glob(f"keeping-*/{ref.digest}"))
    if len(kept) != copies:
        raise Failed(f"{len(kept)} of {copies} keeping subscribers have the file")
    for path in kept:
        require_blob(path, path.parent.name)
        path.unlink()


@contextmanager
def _subscribers(
    kind: str, directory: Path, port: int, protocol: str, shore: Shore, count: int, *, keep: bool
) -> Iterator[list[str]]:
    """The names of bare subscribers that wait for the order with `kind`."""
    names = [f"{kind}-{number}" for number in range(1, count + 1)]
    processes = []
    try:
        for name in names:
            command = [sys.executable, "-m", "benchmarks.bare_subscriber", name, str(port), protocol]
            if keep:
                (directory / name).mkdir()
                command.append(str(directory / name))
            processes.append(subprocess.Popen(command, cwd=ROOT))
        shore.wait_for(lambda: set(shore.done(0)) >= set(names), f"the {kind} subscribers connect", LIMIT_S)
        yield names
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _result(rounds: list[Round], devices: int) -> Result:
    agents_s, bare_s, keeping_s = (
        statistics.median(times)
        for times in (
            [entry.agents_s for entry in rounds],
            [entry.bare_s for entry in rounds],
            [entry.keeping_s for entry in rounds],
        )
    )
    what = f"{cargo.FEATURES * cargo.CLASSES // MIB} MiB to {devices} agents, verified and durable"
    n = f"{len(rounds)} x {devices}"
    ratios = [entry.agents_s / entry.bare_s for entry in rounds]
    return Result(
        headline={"mqtt_ratio_to_bare": agents_s / bare_s},
        n={"mqtt_devices": devices, "mqtt_repetitions": len(rounds)},
        rows=(
            Row(figure=what, value=agents_s, unit="s", n=n, bare="paho, received", bare_value=bare_s),
            Row(
                figure=what, value=agents_s, unit="s", n=n, bare="paho, received, hashed, fsynced", bare_value=keeping_s
            ),
        ),
        detail={"mqtt_ratio_lowest": min(ratios), "mqtt_ratio_highest": max(ratios)}
        | {
            f"mqtt_last_agent_enters_{phase}_s": statistics.median(entry.reached_s[phase] for entry in rounds)
            for phase in PHASES
        },
    )


def _told(number: int, entry: Round) -> str:
    warm_up = " (warm-up, not counted)" if number == 0 else ""
    phases = ", ".join(f"{phase} {entry.reached_s[phase]:.2f}" for phase in PHASES)
    return (
        f"agents {entry.agents_s:.2f} s ({phases}), bare {entry.bare_s:.2f} s, bare and kept {entry.keeping_s:.2f} s"
        + warm_up
    )
