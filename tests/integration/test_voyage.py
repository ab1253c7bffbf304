"""The whole voyage, as `make demo` takes it."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import Tried

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_every_step_comes_out_as_told_and_nothing_is_left_running(tmp_path: Path, tried: Tried) -> None:
    directory = tmp_path / "demo"
    command = [sys.executable, "-m", "examples.voyage", "--directory", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads((directory / "summary.json").read_text())
    tried(f"{len(summary['steps'])} steps in {summary['seconds']:.0f} s")
    assert summary["ok"] is True
    assert all(step["ok"] and step["detail"] for step in summary["steps"])
    devices = {device["id"]: device for device in summary["devices"]}
    assert {device["version"] for device in devices.values()} == {"digits:1"}
    assert (
        sorted(device["runtime"].split()[0] for device in devices.values()) == ["litert"] * 3 + ["tflite-runtime"] * 3
    )
    for device in devices.values():
        assert 0 < device["p50_ms"] <= device["p95_ms"]
        assert 0.7 < device["accuracy"] < 1
    reverts = [revert for device in devices.values() for revert in device["reverts"]]
    assert [revert["version"] for revert in reverts] == ["digits:5"], "by the canary, and by it alone"
    assert "limit 15 ms" in reverts[0]["reason"]
    unsent = {name: device["not_sent"] for name, device in devices.items() if device["not_sent"]}
    assert {device: [one["version"] for one in entries] for device, entries in unsent.items()} == {
        name: ["digits:4"] for name, device in devices.items() if device["runtime"].startswith("tflite-runtime")
    }
    assert "reverted" in done.stdout
    assert not [process for process in psutil.process_iter() if _names(process, directory)]


def _names(process: psutil.Process, directory: Path) -> bool:
    try:
        return any(str(directory) in argument for argument in process.cmdline())
    except psutil.Error:
        return False
