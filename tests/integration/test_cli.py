"""The command line as an operator uses it, on a real controller with a real agent."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt import publish

from tests.support import dense_versions
from tests.support.agent_process import AgentProcess
from tests.support.cargo_hold import DEVICE, FLEET
from tests.support.wait import wait_until
from tests.support.wherry_command import (
    WHERRY,
    ControllerCommand,
    Said,
    interrupt,
    wherry,
    wherry_process,
    write_package,
)
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.up import Log, LogLine

pytestmark = pytest.mark.slow

QUICK = ("--soak-s", "0", "--min-inferences", "10", "--device-deadline-s", "60")


class Port:
    """A controller, an agent, and the packages of `dense:1` and `dense:2`."""

    def __init__(self, directory: Path) -> None:
        self.controller = ControllerCommand(directory / "controller")
        self.packages = [
            write_package(directory / f"package-{number}", dense_versions.make(number)) for number in (1, 2)
        ]
        dense_versions.write_feed(directory / "feed", 1)
        self.agent = AgentProcess(directory, self.controller.running["mqtt_port"])

    def wherry(self, *arguments: str | Path) -> Said:
        return wherry(*arguments, url=self.controller.url)

    def close(self) -> None:
        self.agent.kill()
        self.controller.stop()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    port = Port(tmp_path_factory.mktemp("port"))
    yield port
    port.close()


@pytest.fixture(scope="module")
def sailed(port: Port) -> Port:
    """`dense:1` and `dense:2` were rolled out to the one device."""
    wait_until(
        lambda: any(one["presence"] == "online" for one in port.wherry("devices", "--json").json), "it is online"
    )
    for number, package in enumerate(port.packages, start=1):
        assert port.wherry("models", "add", package).out == f"registered as dense:{number}\n"
        done = port.wherry("rollout", "start", f"dense:{number}", *QUICK, "--watch")
        assert (done.status, done.err) == (0, "")
        assert "completed: 1 committed" in done.out.splitlines()[-1]
    return port


def test_the_same_package_again_is_the_same_version(sailed: Port) -> None:
    assert sailed.wherry("models", "add", sailed.packages[0]).out == "already registered as dense:1\n"
    assert sailed.wherry("models", "add", sailed.packages[0], "--json").json["created"] is False


def test_models_are_listed_and_shown(sailed: Port) -> None:
    assert sailed.wherry("models", "--json").json[0]["versions"] == [1, 2]
    assert "1, 2" in sailed.wherry("models").out
    shown = sailed.wherry("models", "show", "dense:2")
    assert "litert ≥ 2.0.0, tflite-runtime ≥ 2.0.0" in " ".join(shown.out.split())
    assert sailed.wherry("models", "show", "dense", "--json").json["number"] == 2


def test_devices_tell_what_they_run_and_how_it_goes(sailed: Port) -> None:
    listed = sailed.wherry("devices").out
    assert DEVICE in listed
    assert "dense:2 (int8)" in listed
    wait_until(lambda: len(sailed.wherry("devices", "show", DEVICE, "--json").json["readings"]) == 2, "both were read")
    shown = sailed.wherry("devices", "show", DEVICE).out
    assert "dense:1" in shown
    assert "accuracy" in shown


def test_logs_of_one_device_and_of_all(sailed: Port) -> None:
    found = wait_until(lambda: sailed.wherry("logs", DEVICE, "--json").out, "a log line")
    assert {json.loads(line)["device"] for line in found.splitlines()} == {DEVICE}
    assert DEVICE in sailed.wherry("logs").out
    assert len(sailed.wherry("logs", "--level", "warning").out) < len(sailed.wherry("logs").out)


def test_what_a_device_says_cannot_move_the_terminal_or_end_the_command(sailed: Port) -> None:
    line = LogLine(at_s=1e300, level="critical", event="\x1b]0;owned\x07", fields={"why": "\x1b[2J"})
    batch = Log(boot_id="b", batch=1, lines=(line,))
    running = sailed.controller.running
    topic = topics.up(FLEET, DEVICE, "log")
    publish.single(topic, encode(batch), qos=1, hostname=running["mqtt_host"], port=running["mqtt_port"])
    said = wait_until(lambda: sailed.wherry("logs", DEVICE, "--level", "critical").out, "the line has arrived")
    assert "1e+300 s" in said
    assert "owned" in said
    assert "\x1b" not in said


def test_a_reader_that_has_left_is_no_error(sailed: Port) -> None:
    shell = f"{' '.join(WHERRY)} models --url {sailed.controller.url} | true"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_rollout_is_explained_planned_paused_resumed_watched_and_listed(sailed: Port) -> None:
    explained = sailed.wherry("rollout", "start", "dense:1", "--explain").out
    assert "dense:1 to slot main of all: 1 device" in explained
    planned = sailed.wherry("rollout", "start", "dense:1", *QUICK, "--paused", "--json").json
    number = str(planned["id"])
    assert (planned["state"], planned["counts"]) == ("paused", {"waiting": 1})
    assert sailed.wherry("rollout", "pause", number, "--json").json["state"] == "paused"
    assert sailed.wherry("rollout", "resume", number, "--json").json["state"] == "running"
    watched = sailed.wherry("rollout", "watch", number, "--json")
    assert watched.status == 0
    assert json.loads(watched.out.splitlines()[-1])["state"] == "completed"
    assert sailed.wherry("rollout", "list", "--json").json[0]["id"] == planned["id"]
    assert "completed" in sailed.wherry("rollout", "list").out
    shown = sailed.wherry("rollout", "show", number).out
    assert "failures" in shown
    assert DEVICE in shown


def test_an_aborted_rollout_ends_watching_with_status_1(sailed: Port) -> None:
    version = sailed.wherry("models", "show", "dense", "--json").json["number"]
    started = sailed.wherry("rollout", "start", f"dense:{version}", "--soak-s", "3600", "--paused", "--json").json
    aborted = sailed.wherry("rollout", "abort", str(started["id"]), "--yes", "--json")
    assert aborted.json["state"] == "aborted"
    watched = sailed.wherry("rollout", "watch", str(started["id"]))
    assert watched.status == 1
    assert "aborted by operator" in watched.out


def test_the_fleet_is_rolled_back_in_one_command(sailed: Port) -> None:
    for target in ("2", "1"):
        done = sailed.wherry("rollback", "dense", "--to", target, "--yes", "--watch", "--json")
        assert done.status == 0
        device = sailed.wherry("devices", "--json").json[0]
        assert device["slots"][0]["serving"]["version"] == int(target)
    assert sailed.wherry("rollback", "dense", "--to", "1", "--yes").out.startswith("rollback ")


def test_what_many_devices_feel_is_not_done_without_a_word(sailed: Port) -> None:
    before = len(sailed.wherry("rollout", "list", "--json").json)
    refused = sailed.wherry("rollback", "dense", "--to", "1")
    assert refused.status == 2
    assert refused.err == "wherry: nobody is there to confirm; add --yes to do it without asking\n"
    assert len(sailed.wherry("rollout", "list", "--json").json) == before


BAD = [
    (["no-such-command"], "No such command 'no-such-command'; see `wherry --help`"),
    (["rollout"], "Missing command; see `wherry rollout --help`"),
    (["rollout", "start"], "see `wherry rollout start --help`"),
    (["rollout", "watch", "first"], "see `wherry rollout watch --help`"),
    (["devices", "--jsn"], "see `wherry devices --help`"),
    (["models", "show", "nothing"], "no model 'nothing'"),
    (["models", "show", "dense:99"], "no version dense:99"),
    (["models", "show", "../dense"], "not a version: '../dense'"),
    (["models", "add", "no-such-directory"], "No such file or directory"),
    (["devices", "show", "nobody"], "no device 'nobody'"),
    (["devices", "show", "../models"], "not a device id: '../models'"),
    (["devices", "show", "?"], "not a device id: '?'"),
    (["rollback", "../x", "--yes"], "not a version: '../x'"),
    (["rollback", "dense", "--to", "-1", "--yes"], "not a version: 'dense:-1'"),
    (["logs", "nobody"], "no device 'nobody'"),
    (["rollout", "start", "dense:99"], "no version dense:99"),
    (["rollout", "start", "dense:1", "--waves", "0%"], "not a wave: '0%'"),
    (["rollout", "start", "dense:1", "--target", "site="], "no device"),
    (["rollout", "start", "dense:1", "--target", "A B"], "not a target: 'A B'"),
    (["rollout", "start", "dense:1", "--target", "ghost-1"], "ghost-1"),
    (["rollout", "start", "dense:1", "--max-error-share", "7"], "a value is out of range"),
    (["rollout", "start", "dense:1", "--slot", "attic"], "attic"),
    (["rollout", "watch", "99"], "no rollout 99"),
    (["rollout", "abort", "99", "--yes"], "no rollout 99"),
    (["rollback", "nothing", "--yes"], "no model 'nothing'"),
    (["rollback", "dense", "--to", "99", "--yes"], "no version dense:99"),
]


@pytest.mark.parametrize(("arguments", "what"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_a_mistake_is_one_line_that_says_what_to_do(sailed: Port, arguments: list[str], what: str) -> None:
    assert_one_line(sailed.wherry(*arguments), what)


def test_a_package_that_is_damaged_is_refused_before_anything_is_sent(sailed: Port, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", dense_versions.make(3))
    (package / "int8.tflite").write_bytes(b"short")
    assert_one_line(sailed.wherry("models", "add", package), "5 bytes where the manifest says")
    (package / "manifest.json").write_text("{")
    assert_one_line(sailed.wherry("models", "add", package), "is not a manifest")
    assert sailed.wherry("models", "--json").json[0]["versions"] == [1, 2]


@pytest.mark.parametrize(
    ("url", "what", "status"),
    [
        ("http://127.0.0.1:1", "no controller answers at", 3),
        ("nonsense", "is not a URL", 2),
        ("ftp://127.0.0.1", "is not a URL", 2),
    ],
)
def test_a_controller_that_is_not_there_is_said(url: str, what: str, status: int) -> None:
    assert_one_line(wherry("devices", url=url), what, status=status)


def test_something_else_that_answers_is_not_taken_for_a_controller(sailed: Port) -> None:
    assert_one_line(
        wherry("devices", url=f"http://127.0.0.1:{sailed.controller.running['mqtt_port']}"), "controller", status=3
    )


def test_a_wrong_conversion_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"garbage")
    (tmp_path / "limits.toml").write_text("p95 = 3\n")
    (tmp_path / "broken.toml").write_text("= 3\n")
    common = ["--name", "d", "--calibration", tmp_path / "no.npz", "--out", tmp_path / "out"]
    before = sorted(tmp_path.iterdir())
    for source, more, what in (
        ("no.keras", [], "no such file"),
        ("bad.keras", [], "not a Keras model, truncated or damaged"),
        ("limits.toml", [], "not a kind of model that can be converted"),
        ("bad.keras", ["--health", tmp_path / "limits.toml"], "no such limit: p95"),
        ("bad.keras", ["--health", tmp_path / "broken.toml"], "is not TOML"),
        ("bad.keras", ["--health", tmp_path / "none.toml"], "No such file"),
        ("bad.keras", ["--labels", tmp_path / "none.txt"], "No such file"),
        ("bad.keras", ["--probation-s", "-1"], "a value is out of range"),
        ("bad.keras", ["--probation-s", "1200"], "probation_s 1200 must be less than deadline_s 900"),
        ("bad.keras", ["--probation-s", "inf"], "probation_s is inf"),
        ("bad.keras", ["--out", tmp_path / ("x" * 300)], "the name is too long"),
        ("bad.keras", ["--name", "A B"], "not a name of a model: 'A B'"),
        ("bad.keras", ["--add", "--url", "http://127.0.0.1:1"], "no controller answers at"),
    ):
        said = wherry("convert", tmp_path / source, *common, *more)
        absent = "--url" in more
        assert_one_line(said._replace(err="".join(_without_progress(said.err))), what, status=3 if absent else 2)
    assert sorted(tmp_path.iterdir()) == before


def test_a_controller_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    """What else there can be in the way is tried where no process has to be started for it."""
    free = ["controller", "--data-dir", tmp_path / "data", "--http-port", "0", "--mqtt-port", "0"]
    assert_one_line(wherry(*free, "--http-port", "99999"), "is not a port")
    assert_one_line(wherry(*free, "--fleet", "A B"), "not a name of a fleet: 'A B'")
    absent = wherry_process(*free, "--broker", "external", "--mqtt-port", "1")
    assert_one_line(absent, "no broker answers at 127.0.0.1:1", status=3)


def test_an_interrupted_watch_says_so_and_the_rollout_goes_on(sailed: Port, tmp_path: Path) -> None:
    started = sailed.wherry("rollout", "start", "dense:1", "--paused", "--json").json
    out = tmp_path / "out"
    with out.open("wb") as file:
        command = [*WHERRY, "rollout", "watch", str(started["id"]), "--url", sailed.controller.url]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE)
        status = interrupt(process, out)
    assert process.stderr is not None
    assert (status, process.stderr.read()) == (130, b"wherry: interrupted\n")
    process.stderr.close()
    assert sailed.wherry("rollout", "abort", str(started["id"]), "--yes", "--json").json["state"] == "aborted"


def test_ctrl_c_ends_the_controller_in_good_order(tmp_path: Path) -> None:
    controller = ControllerCommand(tmp_path / "data")
    assert (tmp_path / "data" / "controller.json").exists()
    assert controller.stop(signal.SIGINT) == 0
    assert not (tmp_path / "data" / "controller.json").exists()
    assert "Traceback" not in (tmp_path / "data.log").read_text()


@pytest.mark.parametrize(
    "command", [[], ["convert"], ["controller"], ["models"], ["devices"], ["rollout"], ["rollback"], ["logs"]]
)
def test_every_command_has_help_and_leaves_well(command: list[str]) -> None:
    said = wherry(*command, "--help")
    assert (said.status, said.err) == (0, "")
    assert "Usage" in said.out


def test_a_process_of_its_own_leaves_as_well() -> None:
    said = wherry_process("convert", "--help")
    assert (said.status, said.err) == (0, "")
    assert "Usage" in said.out


def assert_one_line(said: Said, what: str, *, status: int = 2) -> None:
    assert said.status == status, said
    assert said.out == ""
    assert said.err.startswith("wherry: ")
    assert said.err.count("\n") == 1, said.err
    assert what in said.err


def _without_progress(text: str) -> list[str]:
    return [line for line in text.splitlines(keepends=True) if not line.startswith("[")]
