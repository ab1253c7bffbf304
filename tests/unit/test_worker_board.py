"""What the supervisor reads of the board and of its workers' ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.agent.adapters.board import accelerators, board
from wherry.agent.adapters.child_process import describe_exit, environment
from wherry.agent.adapters.last_words import LastWords
from wherry.agent.adapters.metrics import SystemMetrics, rss_bytes


def put(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_accelerators_are_found_by_what_the_kernel_shows(tmp_path: Path) -> None:
    put(tmp_path, "dev/apex_0")
    put(tmp_path, "dev/hailo0")
    put(tmp_path, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    put(tmp_path, "sys/bus/usb/devices/1-1/idVendor", "18d1\n")
    put(tmp_path, "sys/bus/usb/devices/1-1/idProduct", "9302\n")
    put(tmp_path, "sys/bus/usb/devices/1-2/idVendor", "046d\n")
    found = accelerators(tmp_path)
    assert found == ("edge-tpu", "edge-tpu-usb", "hailo", "nvidia: Jetson Orin Nano Developer Kit")


def test_a_board_without_accelerators_has_none(tmp_path: Path) -> None:
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert accelerators(tmp_path) == ()


def test_the_board_tells_of_itself(tmp_path: Path) -> None:
    facts = board(tmp_path)
    assert facts.machine == os.uname().machine
    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert facts.cpu_count >= 1
    assert facts.ram_bytes > 1 << 28
    assert 0 <= facts.disk_free_bytes <= facts.disk_total_bytes


def test_readings_are_of_the_board_and_of_both_processes(tmp_path: Path) -> None:
    reading = SystemMetrics(tmp_path).read(os.getpid())
    assert 0 <= reading.cpu_share <= 1
    assert reading.supervisor_rss_bytes > 1 << 20
    assert reading.worker_rss_bytes == pytest.approx(reading.supervisor_rss_bytes, rel=0.1)
    assert SystemMetrics(tmp_path).read(None).worker_rss_bytes == 0


def test_a_process_that_is_gone_has_no_memory() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    assert rss_bytes(process.pid) == 0


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "exited with status 0"),
        (1, "exited with status 1"),
        (-signal.SIGKILL, "killed by signal 9 (SIGKILL)"),
        (-signal.SIGSEGV, "killed by signal 11 (SIGSEGV)"),
        (-63, "killed by signal 63"),
    ],
)
def test_an_end_is_told_in_words(exit_code: int, words: str) -> None:
    assert describe_exit(exit_code) == words


def test_a_worker_gets_no_secrets_and_one_thread_for_its_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "hidden")
    assert "MQTT_PASSWORD" not in environment()
    assert environment()["OMP_NUM_THREADS"] == environment()["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"first\nlast\n\n", "last"),
        (b"abort: arena\nINFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n", "abort: arena"),
        (b"bad \x1b[31m\xff bytes\n", "bad  [31m\ufffd bytes"),
        (b"x" * 100_000, "x" * 4096),
    ],
)
def test_last_words_are_one_short_printable_line(said: bytes, line: str) -> None:
    words = LastWords()
    for at in range(0, len(said), 1000):
        words.add(said[at : at + 1000])
    assert words.line == line
