"""The story, step by step. Each step does what an operator would, looks whether it came out, and tells the figures.

A step returns what it saw; it raises NotAsTold where that is not what was promised.
"""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import psutil

from examples.voyage import readings
from examples.voyage.fleet import Agent
from examples.voyage.harbour import FLEET, Harbour
from examples.voyage.readings import Detail
from examples.voyage.saboteur import replace_block
from examples.voyage.shipyard import Order, Shipyard
from examples.voyage.waiting import require, wait_for

ORDERS = [
    Order("hasty", "int8"),
    Order("better", "int8"),
    Order("wide", "int8"),
    Order("wide", recipe=""),
    Order("slow", "int8"),
]
"""What becomes digits:1 to digits:5."""

GATES = "--soak-s 1 --min-inferences 60 --device-deadline-s 90"
ENOUGH = 50
"""Labelled answers of a device before its accuracy is told."""


@dataclass
class Voyage:
    """What the steps share. `unsent` is why a version was never sent to a device, by device."""

    shipyard: Shipyard
    harbour: Harbour
    agents: Sequence[Agent]
    unsent: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def details(self) -> dict[str, Detail]:
        return {agent.device: self.harbour.device(agent.device) for agent in self.agents}

    def register(self, number: int) -> str:
        """Wait for the package and make it a version; what the converter says of it."""
        package = self.shipyard.package(number)
        added = self.harbour.order(f"models add {os.path.relpath(package.directory)}")
        require(added["name"] == f"digits:{number}", f"registered as {added['name']}, not digits:{number}")
        return f"{added['name']} ({package.told})"

    def roll_out(self, version: str, options: str = "") -> Detail:
        """Start it, watch it to its end, and give back how it ended."""
        started = self.harbour.order(f"rollout start {version} {GATES} {options}".strip())
        self.harbour.watch(f"rollout watch {started['id']}")
        return self.harbour.rollout(started["id"])

    def await_serving(self, versions: dict[str, str], *, after_s: float = 0.0) -> dict[str, Detail]:
        """Wait until every device rests on its version and has told enough of it, newer than `after_s`."""

        def settled() -> dict[str, Detail] | None:
            details = self.details()
            return details if all(_serves(details[one], versions[one], after_s) for one in versions) else None

        return wait_for(settled, f"the devices serve {versions}")

    def fleet(self, version: str) -> dict[str, str]:
        return {agent.device: version for agent in self.agents}

    def agent(self, device: str) -> Agent:
        return next(agent for agent in self.agents if agent.device == device)


def convert(voyage: Voyage) -> str:
    networks = [voyage.shipyard.network(order.network) for order in ORDERS[:2]]
    first = voyage.shipyard.package(1)
    return f"{'; '.join(networks)}; the first one converted: {first.told}; the others meanwhile"


def set_up(voyage: Voyage) -> str:
    voyage.harbour.open()
    run = voyage.harbour.run_file
    for agent in voyage.agents:
        agent.configure(run["mqtt_host"], run["mqtt_port"], voyage.shipyard.held_out)
        agent.start()

    def all_online() -> list[Detail] | None:
        found = voyage.harbour.api.get("devices")
        online = [one for one in found if one["presence"] == "online" and one["birth"]]
        return online if len(online) == len(voyage.agents) else None

    wait_for(all_online, f"{len(voyage.agents)} devices are online")
    found = {name: readings.runtime(detail) for name, detail in voyage.details().items()}
    for agent in voyage.agents:
        require(found[agent.device].startswith(agent.runtime), f"{agent.device} has {found[agent.device]}")
    kinds = sorted(set(found.values()))
    return f"broker {run['broker']}; six agents online: " + ", ".join(
        f"{sum(one == kind for one in found.values())} with {kind}" for kind in kinds
    )


def first_version(voyage: Voyage) -> str:
    voyage.register(1)
    return _everywhere(voyage, "digits:1", "--waves 1,50%,100%")


def second_version(voyage: Voyage) -> str:
    made = voyage.register(2)
    told = _everywhere(voyage, "digits:2", "--waves 1,50%,100%")
    details = voyage.details().values()
    before, now = _accuracy(details, "digits:1"), _accuracy(details, "digits:2")
    require(now > before, f"digits:2 is not better on the devices: {now:.1%} against {before:.1%}")
    return f"{made}; {told}, against {before:.1%} with digits:1"


def damaged_on_the_broker(voyage: Voyage) -> str:
    voyage.register(3)
    artifact = voyage.harbour.api.get("models/digits/versions/3")["manifest"]["variants"][0]["artifact"]
    digest = artifact["digest"]
    started = voyage.harbour.order(f"rollout start digits:3 {GATES} --waves 50%,100% --paused")
    run = voyage.harbour.run_file
    wait_for(lambda: digest in voyage.harbour.api.get("status")["published"], "the blocks lie on the broker")
    replace_block(run["mqtt_host"], run["mqtt_port"], FLEET, digest, 1)
    voyage.harbour.order(f"rollout resume {started['id']}")
    voyage.harbour.watch(f"rollout watch {started['id']}")
    _completed(voyage.harbour.rollout(started["id"]), len(voyage.agents))
    details = voyage.await_serving(voyage.fleet("digits:3"))
    damaged = {name for name, one in details.items() if readings.events(one, "block-damaged")}
    repaired = [event for one in details.values() for event in readings.events(one, "block-repaired")]
    require(damaged, "no device noticed the damaged block")
    require({event["digest"] for event in repaired} == {digest}, "the damaged block was not repaired")
    ways = sorted({event["transport"] for event in repaired})
    noticed = ", ".join(sorted(damaged))
    return (
        f"one block of {digest[:12]} replaced by other bytes; noticed by {noticed}, fetched again over "
        f"{' and '.join(ways)}; all six committed digits:3"
    )


def newer_operators(voyage: Voyage) -> str:
    voyage.register(4)
    before = voyage.details()
    rollout = voyage.roll_out("digits:4", "--waves 50%,100%")
    able = [agent.device for agent in voyage.agents if agent.runtime == "litert"]
    _completed(rollout, len(able))
    apart = {one["device"]: one["reason"] for one in rollout["devices"] if one["standing"] == "incompatible"}
    details = voyage.details()
    for agent in voyage.agents:
        detail = details[agent.device]
        if agent.device in able:
            require(readings.serving(detail) == "digits:4", f"{agent.device} does not serve digits:4")
            continue
        require("FULLY_CONNECTED" in apart.get(agent.device, ""), f"no reason on record for {agent.device}")
        require(readings.wanted(detail) == "digits:3", f"{agent.device} was sent digits:4")
        require(not readings.phases(detail, "digits:4"), f"{agent.device} tried digits:4")
        require(readings.serving(detail) == readings.serving(before[agent.device]), f"{agent.device} was disturbed")
        voyage.unsent.setdefault(agent.device, []).append({"version": "digits:4", "reason": apart[agent.device]})
    reason = next(iter(apart.values()))
    return f"committed on {', '.join(able)}; never sent to {', '.join(sorted(apart))}: {reason}"


def far_too_slow(voyage: Voyage) -> str:
    voyage.register(5)
    before = {name: readings.serving(detail) for name, detail in voyage.details().items()}
    rollout = voyage.roll_out("digits:5", "--waves 1,50%,100%")
    require(rollout["state"] == "reverted", f"the rollout ended {rollout['state']}: {rollout['reason']}")
    canaries = [one["device"] for one in rollout["devices"] if one["restored"]]
    require(len(canaries) == 1 and rollout["wave"] == 1, f"it went further than the canary: {canaries}")
    details = voyage.await_serving(before)
    canary = details[canaries[0]]
    passed = readings.phases(canary, "digits:5")
    require("switch" in passed and "probation" in passed, f"it did not pass the self-test: {passed}")
    found = [one["reason"] for one in readings.reverts(canary) if one["version"] == "digits:5"]
    require(found, f"{canaries[0]} did not revert it by itself")
    others = [name for name in details if name != canaries[0] and readings.phases(details[name], "digits:5")]
    require(not others, f"digits:5 was tried on {others}")
    return f"self-test passed, reverted by {canaries[0]} in probation: {found[0]}; the rollout stopped at the canary"


def killed_worker(voyage: Voyage) -> str:
    agent, version, detail = _victim(voyage, 0)
    crashes = len(readings.events(detail, "worker-crashed"))
    worker = next(child for child in psutil.Process(agent.pid).children() if "wherry.agent.worker" in child.cmdline())
    now_s = _clock_s(voyage)
    os.kill(worker.pid, signal.SIGKILL)

    def recovered() -> Detail | None:
        found = voyage.harbour.device(agent.device)
        crashed = len(readings.events(found, "worker-crashed")) > crashes
        return found if crashed and readings.events(found, "worker-recovered") else None

    found = wait_for(recovered, f"the worker of {agent.device} is replaced")
    crash, recovery = (readings.events(found, kind)[0]["at_s"] for kind in ("worker-crashed", "worker-recovered"))
    voyage.await_serving({agent.device: version}, after_s=now_s)
    return f"worker of {agent.device} killed; another one serves {version} {recovery - crash:.1f} s later"


def killed_agent(voyage: Voyage) -> str:
    agent, version, detail = _victim(voyage, 1)
    downloads = readings.phases(detail, version).count("download")
    now_s = _clock_s(voyage)
    agent.kill()
    wait_for(lambda: _presence(voyage, agent.device) == "lost", f"the broker says that {agent.device} is lost")
    agent.start()
    wait_for(lambda: _presence(voyage, agent.device) == "online", f"{agent.device} is back")
    found = voyage.await_serving({agent.device: version}, after_s=now_s)[agent.device]
    require(readings.phases(found, version).count("download") == downloads, "it fetched the version again")
    return f"agent of {agent.device} killed, told lost by the broker, started again: it serves {version} from its disk"


def roll_back(voyage: Voyage) -> str:
    now_s = _clock_s(voyage)
    status = voyage.harbour.watch("rollback digits --to 1 --yes --watch")
    require(status == 0, f"the rollback ended with status {status}")
    details = voyage.await_serving(voyage.fleet("digits:1"), after_s=now_s)
    return f"one command; {len(details)} of {len(voyage.agents)} devices serve digits:1"


QUIET = (convert, set_up, killed_worker, killed_agent)
"""Steps that show nothing while they go on."""

Step = tuple[str, Callable[[Voyage], str]]

STEPS: tuple[Step, ...] = (
    ("two networks trained on real digits and converted to int8", convert),
    ("the controller, its broker and six agents", set_up),
    ("digits:1 rolled out wave by wave", first_version),
    ("digits:2 rolled out wave by wave", second_version),
    ("digits:3: bytes damaged on the broker", damaged_on_the_broker),
    ("digits:4: newer operators than some boards have", newer_operators),
    ("digits:5: far too slow", far_too_slow),
    ("a worker killed while it serves", killed_worker),
    ("an agent killed while it serves", killed_agent),
    ("the whole fleet back to digits:1", roll_back),
)


def _everywhere(voyage: Voyage, version: str, options: str) -> str:
    rollout = voyage.roll_out(version, options)
    _completed(rollout, len(voyage.agents))
    details = voyage.await_serving(voyage.fleet(version))
    for name, detail in details.items():
        require(detail["system"], f"{name} told nothing of its health")
    supervisor_mb = max(detail["system"]["supervisor_rss_bytes"] for detail in details.values()) / 1e6
    accuracy = _accuracy(details.values(), version)
    return (
        f"six devices committed in {rollout['wave_count']} waves, {accuracy:.1%} of the digits right on them, "
        f"supervisors at most {supervisor_mb:.0f} MB"
    )


def _completed(rollout: Detail, committed: int) -> None:
    require(rollout["state"] == "completed", f"the rollout ended {rollout['state']}: {rollout['reason']}")
    found = rollout["counts"].get("committed", 0)
    require(found == committed, f"{found} devices committed, not {committed}")


def _serves(detail: Detail, version: str, after_s: float) -> bool:
    seen = readings.reading(detail, version)
    enough = seen.get("labelled", 0) >= ENOUGH and seen.get("last_s", 0.0) > after_s
    return enough and readings.at_rest(detail) and readings.serving(detail) == version


def _accuracy(details: Iterable[Detail], version: str) -> float:
    """Of all devices together."""
    seen = [one for detail in details if (one := readings.reading(detail, version))]
    return float(sum(one["correct"] for one in seen) / sum(one["labelled"] for one in seen))


def _victim(voyage: Voyage, index: int) -> tuple[Agent, str, Detail]:
    """The agent, the version that it serves, and what is known of it."""
    agent = voyage.agents[index]
    detail = voyage.harbour.device(agent.device)
    return agent, readings.serving(detail), detail


def _presence(voyage: Voyage, device: str) -> str:
    return str(voyage.harbour.device(device)["device"]["presence"])


def _clock_s(voyage: Voyage) -> float:
    """The controller's clock, which is this machine's."""
    return float(max(detail["device"]["last_seen_s"] for detail in voyage.details().values()))
