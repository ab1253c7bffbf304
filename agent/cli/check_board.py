"""Checks of the board: runtimes, numpy, clock, temperature, service, sandbox."""

import subprocess
import time
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.metrics import temperature_c
from wherry.agent.adapters.probe import probe_families
from wherry.agent.adapters.sandbox import shortcomings, worker_sandbox
from wherry.agent.cli.check import Check, fail, ok, warn
from wherry.agent.config import Config
from wherry.agent.errors import BadConfig

BUILT_S = 1_767_225_600
"""The start of 2026: an earlier clock is wrong."""

HOT_C = 80.0
"""Raspberry Pi slows down at 80 °C, Jetson a little later."""

THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
UNDER_VOLTAGE, SLOWED = 0x1, 0x2 | 0x4 | 0x8
"""Bits of Raspberry Pi's firmware that tell of now; those 16 places up tell of the time since the start."""

UNIT = "wherry-agent.service"
SYSTEMD = Path("/run/systemd/system")


def check_runtimes(config: Config) -> Iterator[Check]:
    """By building an interpreter in a worker, as the agent does at its start."""
    probes = probe_families(config.runtime)
    works = any(probe.runtime for probe in probes)
    for probe in probes:
        name = f"runtime {probe.family}"
        if probe.runtime is not None:
            yield ok(name, probe.runtime.version)
        elif works:
            yield warn(name, probe.reason, "the other one serves; versions that need this one are refused")
        else:
            yield fail(name, probe.reason, "install a runtime that works here: pip install 'wherry[tflite]'")


def check_numpy(_config: Config) -> Iterator[Check]:
    """Its version as installed: nothing of it is imported here."""
    try:
        version = metadata.version("numpy")
    except metadata.PackageNotFoundError:
        yield fail("numpy", "is not installed", "pip install 'wherry[agent]'")
        return
    if int(version.split(".")[0]) >= 2 and util.find_spec("tflite_runtime") is not None:
        yield fail("numpy", f"{version}: tflite-runtime builds no interpreter beside numpy 2", "pip install 'numpy<2'")
    else:
        yield ok("numpy", version)


def check_clock(_config: Config) -> Iterator[Check]:
    clock = Clock()
    yield judge_clock(clock.wall_s(), kept_right=clock.is_kept_right())


def judge_clock(now_s: float, *, kept_right: bool) -> Check:
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < BUILT_S:
        fix = "let it find a time server; serving goes on, but orders with a time limit are not to be trusted"
        return warn("clock", f"says {shown}, which is past", fix)
    return ok("clock", f"{shown}, {'kept right by a time server' if kept_right else 'kept right by nobody'}")


def check_heat(_config: Config) -> Iterator[Check]:
    found = temperature_c()
    if found is None:
        yield ok("temperature", "this board shows none")
    elif found >= HOT_C:
        yield warn("temperature", f"{found:.0f} °C: the processor slows down", "give it air or a heat sink")
    else:
        yield ok("temperature", f"{found:.0f} °C")
    yield from _throttling(THROTTLED)


def _throttling(path: Path) -> Iterator[Check]:
    try:
        bits = int(path.read_text().strip(), 16)
    except (OSError, ValueError):
        return
    if bits & UNDER_VOLTAGE:
        yield fail("power", "too little voltage", "use a power supply and a cable that are strong enough")
    elif bits & SLOWED:
        yield warn("throttling", "the processor is slowed down now", "cool it")
    elif bits:
        yield warn("throttling", f"it was since the board's start (0x{bits:x})", "look at power supply and cooling")
    else:
        yield ok("throttling", "none")


def check_service(_config: Config) -> Iterator[Check]:
    """What systemd knows of the unit that images carry."""
    if not SYSTEMD.is_dir():
        yield ok("service", "no systemd here: whatever starts the agent must start it again")
        return
    shown = subprocess.run(
        ["systemctl", "show", UNIT, "--property=LoadState,ActiveState,Type,WatchdogUSec,NRestarts"],
        capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    facts = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    yield judge_service(facts)


def judge_service(facts: dict[str, str]) -> Check:
    state, watchdog = facts.get("ActiveState", "unknown"), facts.get("WatchdogUSec", "0")
    if facts.get("LoadState") != "loaded":
        return warn("service", f"{UNIT} is not installed", "see firmware-images/README.md, or start the agent by hand")
    if state != "active":
        return fail("service", f"{UNIT} is {state}", f"systemctl start {UNIT}; journalctl -u {UNIT} says why it ended")
    if facts.get("Type") != "notify" or watchdog in ("0", "infinity"):
        return warn("service", "systemd does not watch the agent", f"install the {UNIT} that came with this version")
    return ok("service", f"active, watched every {watchdog}, started again {facts.get('NRestarts', '0')} times")


def check_sandbox(config: Config) -> Iterator[Check]:
    """What this kernel has of what workers are put into."""
    if not config.sandbox.enabled:
        yield warn("sandbox", "switched off in the configuration", "set sandbox.enabled = true")
        return
    try:
        worker_sandbox(config)
        lacking = shortcomings(config)
    except BadConfig as error:
        yield fail("sandbox", f"{error.key}: {error.problem}", "add it to the board, or change the configuration")
        return
    for lack in lacking:
        yield warn("sandbox", lack)
    if not lacking:
        yield ok("sandbox", "limits, no new privileges, Landlock" + (", seccomp" if config.sandbox.seccomp else ""))
