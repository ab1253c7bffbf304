"""The benchmarks but that of conversions at a small n: what they print, and that they fail on nothing."""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from benchmarks import agent_load, board, controller_tick, form, spread, voyage
from benchmarks.form import Failed, Result, Row
from tests.support import broker
from tests.support.fast_server import engine, listener, serve
from tests.support.wait import wait_until
from wherry.controller.adapters import mosquitto
from wherry.controller.store.tables import RolloutDeviceRow

ROOT = Path(__file__).parents[2]
HEADLINE = {"mqtt_ratio_to_bare", "supervisor_rss_mb", "worker_recovery_s"}
AGENT_HEADLINE = {
    "fast_ratio_to_bare", "http_overhead_ms", "crash_to_answer_s", "switch_p99_ratio", "switch_dropped",
    "supervisor_rss_mb",
}  # fmt: skip
CONTROLLER_HEADLINE = {
    "tick_s", "tick_with_database_s", "revert_s", "rollout_1000_ratio_to_bare", "ingest_ratio_to_bare",
    "db_bytes_per_device_day",
}  # fmt: skip
FRESH = {"standing": "waiting", "sent": None, "sent_s": None, "sent_epoch": 0, "sent_generation": 0, "attempts": 0}
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
def test_a_quick_run_over_the_agent_prints_json_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "agent.py"), "--quick", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= AGENT_HEADLINE | {"machine", "versions", "n", "rows"}
    assert found["fast_ratio_to_bare"] > 1, "doing more cannot take less"
    assert found["http_overhead_ms"] > 0
    assert 0.05 < found["crash_to_answer_s"] < 20
    assert found["switch_dropped"] == 0
    assert found["n"]["switch_requests"] > 100
    assert 10 < found["supervisor_rss_mb"] < 60
    assert all(row["bare_value"] > 0 and row["n"] for row in found["rows"])


@pytest.mark.slow
def test_a_quick_run_over_the_controller_prints_json_alone(tmp_path: Path) -> None:
    broker.require_mosquitto()
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "controller.py"), "--quick", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= CONTROLLER_HEADLINE | {"machine", "versions", "n", "rows"}
    assert set(found["tick_s"]) == set(found["tick_with_database_s"]) == {"100", "1000"}
    assert found["rollout_1000_ratio_to_bare"] > 1, "doing more cannot take less"
    assert 0 < found["ingest_ratio_to_bare"] < 1
    assert 0.001 < found["revert_s"] < 20
    assert 1e5 < found["db_bytes_per_device_day"] < 1e7
    assert found["n"]["ingest_messages"] == 100
    assert all(row["bare_value"] > 0 and row["n"] for row in found["rows"])


def test_a_tick_that_has_something_to_do_is_no_measure(tmp_path: Path) -> None:
    """The negative control: a device of the fleet that is measured has not been sent its version yet."""
    depot = controller_tick._fleet(tmp_path / "some.db", 8)
    controller_tick._tick(depot)
    with depot.db.write() as session:
        session.execute(update(RolloutDeviceRow).where(RolloutDeviceRow.device == "device-7").values(FRESH))
    with pytest.raises(Failed, match="sent documents to 1 devices"):
        controller_tick._tick(depot)
    depot.db.close()


def test_devices_of_a_fleet_that_is_measured_are_all_unlike_each_other(tmp_path: Path) -> None:
    depot = controller_tick._fleet(tmp_path / "some.db", 40)
    _, members = controller_tick._load(depot)
    births = {member.birth.boot_id for member in members if member.birth is not None}
    assert len(members) == len(births) + 3 == 40, "four templates share theirs"
    assert {member.standing for member in members} == {"committed", "sent"}
    assert len({member.behaviour.inferences for member in members if member.standing == "committed"}) > 25
    depot.db.close()


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


def test_requests_that_nobody_answers_are_counted_as_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the switch."""
    monkeypatch.setattr(agent_load, "TIMEOUT_S", 0.1)
    with agent_load.Load(tmp_path, np.zeros((1, 4), np.int8), 50.0) as load:
        wait_until(lambda: len(load.asked) > agent_load.CLIENTS, "requests were asked")
    assert all(asked.version is None for asked in load.asked)
    assert len(load.failures) == len(load.asked)
    assert load.first_of(1) is None


def test_a_request_that_ends_in_our_own_fault_is_dropped_and_the_next_is_asked(tmp_path: Path) -> None:
    """A sample that makes the client raise what it never should."""
    with listener(tmp_path) as sock:
        server = serve(sock, engine())
        with agent_load.Load(tmp_path, _Broken(), 400.0) as load:  # type: ignore[arg-type]
            wait_until(lambda: len(load.asked) > 4 * agent_load.CLIENTS, "all ask on")
        server.drain()
    assert all(asked.version is None for asked in load.asked)
    assert len(load.failures) == len(load.asked)
    assert load.failures[0] == "ZeroDivisionError: our own fault"


class _Broken:
    def __array__(self, *_: object, **__: object) -> object:
        raise ZeroDivisionError("our own fault")


def test_a_load_that_was_asked_in_part_is_no_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: each request waits for nobody, far longer than until the next is due."""
    monkeypatch.setattr(agent_load, "TIMEOUT_S", 0.5)
    with agent_load.Load(tmp_path, np.zeros((1, 4), np.int8), 400.0) as load:
        wait_until(lambda: load.asked, "requests were asked")
    with pytest.raises(Failed, match="were due, and"):
        load.require_whole()


def test_a_request_that_is_late_counts_from_when_it_was_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits 0.1 s for nobody and is followed at once by the next, so that they fall behind."""
    monkeypatch.setattr(agent_load, "TIMEOUT_S", 0.1)
    with agent_load.Load(tmp_path, np.zeros((1, 4), np.int8), 400.0) as load:
        wait_until(lambda: len(load.asked) >= 4 * agent_load.CLIENTS, "requests fell behind")
    assert max(asked.latency_s for asked in load.asked) > 2 * agent_load.TIMEOUT_S


def test_a_blob_that_is_missing_or_wrong_is_no_download(tmp_path: Path) -> None:
    """The negative control of the spread."""
    path = tmp_path / ("0" * 64)
    with pytest.raises(Failed, match="boat-1"):
        spread.require_blob(path, "boat-1")
    path.write_bytes(b"something else")
    with pytest.raises(Failed, match="not right"):
        spread.require_blob(path, "boat-1")


@pytest.mark.slow
def test_a_board_runs_the_agent_with_nothing_but_what_it_needs(tmp_path: Path) -> None:
    python = board.python(tmp_path)
    look = "import wherry.agent.__main__, sys; print(*sys.path, *sys.modules)"
    said = subprocess.run([python, "-P", "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "wherry.agent.supervisor" in said
    assert not {"rich", "numpy", "typer", "fastapi"} & set(said.split())
    assert not any(Path(entry).is_relative_to(ROOT) for entry in said.split() if entry.startswith("/"))
    for module in ("wherry.agent.worker.runtimes.litert", "wherry.agent.client.http", "wherry.agent.feeder.__main__"):
        subprocess.run([python, "-P", "-c", f"import {module}"], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)


def test_what_a_board_needs_and_is_missing_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "EXTRAS", ("agent", "camera"))
    monkeypatch.setattr(board, "distribution", _none)
    with pytest.raises(Failed, match="needed on a board and not installed here"):
        board.needed()


def _none(name: str) -> None:
    raise PackageNotFoundError(name)
