"""How warm the board is and whether it is slowed down, from the files that its kernel shows.

Rules upheld here:
- Boards differ in what they show, and sensors in whether they can be read: what cannot be is left out, nothing raises.
- `root` stands before every path, so that tests can build a board of files.

Raspberry Pi: the firmware's own word, `get_throttled`, and the supply's alarm in hwmon. Jetson and other ARM boards:
the thermal framework's cooling devices of processors, of which one in use is a processor held back. All: cpufreq.
"""

from collections.abc import Iterator
from pathlib import Path

from wherry.protocol.up.telemetry import Throttle

ROOT = Path("/")

_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_FIRMWARE_BITS: tuple[Throttle, ...] = ("under-voltage", "frequency-capped", "throttled", "temperature-limit")
"""Bits 0 to 3 are of now; 16 to 19 are of any time since the boot."""

_COOLING = ("cpufreq", "devfreq", "thermal-cpufreq", "thermal-devfreq", "Processor", "cpu-throttle", "gpu-throttle")
"""How the types of cooling devices begin that hold a processor back; fans do not."""

_ZONES = ("cpu-thermal", "cpu_thermal", "CPU-therm", "soc-thermal", "soc_thermal", "x86_pkg_temp")
_SENSORS = ("cpu_thermal", "coretemp", "k10temp")
_LYING = ("PMIC-Die",)
"""Jetson's says 100 degrees for ever."""

_CREDIBLE_C = (-55.0, 150.0)


def temperature_c(root: Path = ROOT) -> float | None:
    """The processor's temperature where the board shows one, else that of any sensor, else None."""
    zones = [(_text(zone / "type"), _celsius(zone / "temp")) for zone in _found(root, "thermal/thermal_zone*")]
    chips = [
        (_text(chip / "name"), _celsius(reading))
        for chip in _found(root, "hwmon/hwmon*")
        for reading in sorted(chip.glob("temp*_input"))
    ]
    known = [(name, value) for name, value in zones + chips if value is not None and name not in _LYING]
    ordered = [value for wanted in (*_ZONES, *_SENSORS) for name, value in known if name == wanted]
    return next(iter(ordered + [value for _, value in known]), None)


def throttling(root: Path = ROOT) -> tuple[Throttle, ...] | None:
    """What slows the board down now; None where it shows nothing of the kind."""
    told = [*_firmware(root), *_supply(root), *_cooling(root), *_capped(root)]
    active = {what for what, is_active in told if is_active}
    return tuple(what for what in _FIRMWARE_BITS if what in active) if told else None


def frequency_share(root: Path = ROOT) -> float | None:
    """The processors' frequency now, of the highest that they can do; a mean where there are several kinds."""
    shares = []
    for policy in _policies(root):
        now, highest = _number(policy / "scaling_cur_freq"), _number(policy / "cpuinfo_max_freq")
        if now is not None and highest:
            shares.append(min(max(now / highest, 0.0), 1.0))
    return sum(shares) / len(shares) if shares else None


_Told = Iterator[tuple[Throttle, bool]]


def _firmware(root: Path) -> _Told:
    try:
        bits = int(_text(root / _FIRMWARE), 16)
    except ValueError:
        return
    for number, what in enumerate(_FIRMWARE_BITS):
        yield what, bool(bits >> number & 1)


def _supply(root: Path) -> _Told:
    for chip in _found(root, "hwmon/hwmon*"):
        alarm = _number(chip / "in0_lcrit_alarm")
        if alarm is not None and _text(chip / "name") == "rpi_volt":
            yield "under-voltage", alarm > 0


def _cooling(root: Path) -> _Told:
    for device in _found(root, "thermal/cooling_device*"):
        state = _number(device / "cur_state")
        if state is not None and _text(device / "type").startswith(_COOLING):
            yield "throttled", state > 0


def _capped(root: Path) -> _Told:
    for policy in _policies(root):
        allowed, highest = _number(policy / "scaling_max_freq"), _number(policy / "cpuinfo_max_freq")
        if allowed is not None and highest is not None:
            yield "frequency-capped", allowed < highest


def _policies(root: Path) -> list[Path]:
    return sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*"))


def _found(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(f"sys/class/{pattern}"))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def _celsius(path: Path) -> float | None:
    """Of a file in thousandths of a degree."""
    value = _number(path)
    low, high = _CREDIBLE_C
    return None if value is None or not low <= value / 1000 <= high else value / 1000
