"""The benchmark of the voyage at a small n: what it prints, and that it fails where nothing was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import form, spread, voyage
from benchmarks.form import Failed, Result, Row
from wherry.controller.adapters import mosquitto

ROOT = Path(__file__).parents[2]
HEADLINE = {"mqtt_ratio_to_bare", "supervisor_rss_mb", "worker_recovery_s"}
RESULT = Result(
    headline={"speed_s": 2.0},
    n={"runs": 3},
    rows=(Row(figure="speed", value=2.0, unit="s", n="3", bare="nothing", bare_value=0.5),),
)


def _main(measure: object, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    return form.main("bench", "A benchmark.", measure)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_quick_run_from_anywhere_prints_json_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "voyage.py"), "--quick", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= HEADLINE | {"machine", "versions", "n", "rows"}
    assert found["mqtt_ratio_to_bare"] > 1, "doing more cannot take less"
    assert 10 < found["supervisor_rss_mb"] < 45
    assert 0.05 < found["worker_recovery_s"] < 20
    assert found["machine"].keys() >= {"cpu", "cores", "ram_gib", "kernel"}
    assert found["versions"].keys() >= {"python", "wherry", "ai-edge-litert"}
    assert found["versions"].keys() & {"mosquitto", "amqtt"}
    assert all(row["bare_value"] > 0 and row["n"] for row in found["rows"])
    assert os.uname().nodename not in done.stdout


@pytest.mark.slow
def test_it_runs_as_a_module_and_shows_a_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.voyage", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--quick" in done.stdout


@pytest.mark.slow
def test_without_mosquitto_the_embedded_broker_serves_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosquitto, "find", lambda: None)
    result = voyage.measure(voyage.QUICK)
    assert "amqtt" in result.versions
    assert result.headline.keys() >= HEADLINE


def test_the_table_holds_figure_n_baseline_and_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(lambda _quick: RESULT, monkeypatch) == 0
    assert "| speed | 2 s | 3 | nothing | 0.5 s | 4.00 |" in capsys.readouterr().out


def test_a_benchmark_that_measured_nothing_fails_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_quick: object) -> Result:
        raise Failed("nothing arrived")

    assert _main(measure, monkeypatch, "--json") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "bench: nothing arrived\n"


def test_a_blob_that_is_missing_or_wrong_is_no_download(tmp_path: Path) -> None:
    """The negative control of the spread."""
    path = tmp_path / ("0" * 64)
    with pytest.raises(Failed, match="boat-1"):
        spread.require_blob(path, "boat-1")
    path.write_bytes(b"something else")
    with pytest.raises(Failed, match="not right"):
        spread.require_blob(path, "boat-1")
