"""Boards built of files: what each says of its temperature and of what slows it down."""

from pathlib import Path

import pytest

from wherry.agent.adapters.metrics import SystemMetrics
from wherry.agent.adapters.thermal import frequency_share, temperature_c, throttling

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
POLICY = "sys/devices/system/cpu/cpufreq/policy"


def _board(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def _zone(number: int, kind: str, temp: str) -> dict[str, str]:
    place = f"sys/class/thermal/thermal_zone{number}"
    return {f"{place}/type": kind, f"{place}/temp": temp}


def _cooling(number: int, kind: str, state: str) -> dict[str, str]:
    place = f"sys/class/thermal/cooling_device{number}"
    return {f"{place}/type": kind, f"{place}/cur_state": state}


def _chip(number: int, name: str, **files: str) -> dict[str, str]:
    place = f"sys/class/hwmon/hwmon{number}"
    return {f"{place}/name": name} | {f"{place}/{file}": value for file, value in files.items()}


def _cpufreq(number: int, cur: int, top: int, highest: int) -> dict[str, str]:
    place = f"{POLICY}{number}"
    return {
        f"{place}/scaling_cur_freq": str(cur),
        f"{place}/scaling_max_freq": str(top),
        f"{place}/cpuinfo_max_freq": str(highest),
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({THROTTLED: "0"}, ()),
        ({THROTTLED: "50000"}, ()),  # since the boot, not now
        ({THROTTLED: "1"}, ("under-voltage",)),
        ({THROTTLED: "0x50005"}, ("under-voltage", "throttled")),
        ({THROTTLED: "f"}, ("under-voltage", "frequency-capped", "throttled", "temperature-limit")),
        ({THROTTLED: "no number"}, None),
        (_chip(0, "rpi_volt", in0_lcrit_alarm="0"), ()),
        (_chip(0, "rpi_volt", in0_lcrit_alarm="1"), ("under-voltage",)),
        (_chip(0, "ina3221", in0_lcrit_alarm="1"), None),
        (_cooling(0, "thermal-cpufreq-0", "3"), ("throttled",)),
        (_cooling(0, "thermal-devfreq-0", "1"), ("throttled",)),
        (_cooling(0, "cpufreq-cpu0", "0"), ()),
        (_cooling(0, "pwm-fan", "4"), None),
        (_cooling(0, "Processor", "odd"), None),
        (_cooling(0, "pwm-fan", "4") | _cooling(1, "cpu-throttle-alert", "1"), ("throttled",)),
        (_cpufreq(0, 600, 1500, 1500), ()),
        (_cpufreq(0, 600, 600, 1500), ("frequency-capped",)),
        ({THROTTLED: "4"} | _cpufreq(0, 600, 600, 1500), ("frequency-capped", "throttled")),
    ],
)
def test_a_board_says_what_slows_it_down(tmp_path: Path, files: dict[str, str], expected: object) -> None:
    assert throttling(_board(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (_zone(0, "cpu-thermal", "51540"), 51.54),
        (_zone(0, "PMIC-Die", "100000") | _zone(1, "GPU-therm", "40000") | _zone(2, "CPU-therm", "42500"), 42.5),
        (_zone(0, "PMIC-Die", "100000") | _zone(1, "GPU-therm", "40000"), 40.0),
        (_zone(0, "acpitz", "27800") | _chip(1, "coretemp", temp1_input="61000"), 61.0),
        (_chip(0, "nvme", temp1_input="39850"), 39.85),
        (_zone(0, "cpu-thermal", "-274000") | _zone(1, "tj-thermal", "48000"), 48.0),
        (_zone(0, "cpu-thermal", ""), None),
    ],
)
def test_the_processor_s_temperature_is_preferred(tmp_path: Path, files: dict[str, str], expected: object) -> None:
    assert temperature_c(_board(tmp_path, files)) == expected


def test_frequency_is_a_share_of_the_highest(tmp_path: Path) -> None:
    assert frequency_share(tmp_path) is None
    _board(
        tmp_path, _cpufreq(0, 600, 1500, 1500) | _cpufreq(4, 2000, 2000, 2000) | {f"{POLICY}7/scaling_cur_freq": "1"}
    )
    assert frequency_share(tmp_path) == pytest.approx(0.7)


def test_a_sensor_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    _board(tmp_path, _zone(0, "cpu-thermal", "50000"))
    zone = tmp_path / "sys/class/thermal/thermal_zone1"
    (zone / "temp").mkdir(parents=True)
    (zone / "type").write_bytes(b"\xff\xfe")
    assert temperature_c(tmp_path) == 50.0


def test_the_reading_carries_it(tmp_path: Path) -> None:
    root = _board(tmp_path, {THROTTLED: "1"} | _zone(0, "cpu-thermal", "50000") | _cpufreq(0, 750, 1500, 1500))
    reading = SystemMetrics(tmp_path, root).read(None)
    assert (reading.temperature_c, reading.throttling, reading.frequency_share) == (50.0, ("under-voltage",), 0.5)


def test_this_very_machine_can_be_asked(tmp_path: Path) -> None:
    assert SystemMetrics(tmp_path).read(None).disk_free_bytes > 0
