"""`wherry conversions` on a real API with a real child process: what it says, and its exit status."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.conversion_desk import ConversionClient
from tests.support.fake_converter import HANGING, PROGRAM, Script
from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import LIMIT_S, WHERRY, Said, wherry
from wherry.controller.cli import conversion_follow
from wherry.controller.cli.conversion_order import options
from wherry.controller.errors import Invalid
from wherry.protocol.blob import sha256

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDesk]:
    with serving(tmp_path_factory.mktemp("desk"), converter=PROGRAM) as desk:
        yield desk


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion_follow, "POLL_S", 0.02)


def _url(desk: HttpDesk) -> str:
    return f"http://127.0.0.1:{desk.port}"


def _start(desk: HttpDesk, directory: Path, script: Script, *more: str | Path) -> Said:
    arguments = _files(directory, script)
    return wherry("conversions", "start", *arguments, *more, url=_url(desk))


def _files(directory: Path, script: Script) -> list[str | Path]:
    source, data = directory / "net.keras", directory / "train.npz"
    source.write_bytes(script.source)
    data.write_bytes(b"samples")
    return [source, "--name", directory.name[:40].lower().replace("_", "-"), "--calibration", data]


def test_a_model_is_uploaded_converted_and_registered_while_one_waits(desk: HttpDesk, tmp_path: Path) -> None:
    said = _start(desk, tmp_path, Script(warning="only one class"), "-o", 'labels=["a", "b"]', "-o", "data_layout=nhwc")
    assert said.status == 0, said
    assert said.out.startswith("registered as test-a-model")
    assert "/versions/1/report.html" in said.out
    assert "warning: only one class; look at it" in said.err
    listed = wherry("conversions", "list", "--json", url=_url(desk)).json
    assert listed[0]["order"]["options"] == {"labels": ["a", "b"], "data_layout": "nhwc"}
    shown = wherry("conversions", "show", str(listed[0]["id"]), url=_url(desk))
    assert "succeeded: test-a-model" in shown.out
    assert "[1/3] reading" in wherry("conversions", "log", str(listed[0]["id"]), url=_url(desk)).out
    assert "succeeded" in wherry("conversions", url=_url(desk)).out


@pytest.mark.parametrize(
    ("end", "status", "err"),
    [
        ("refuse", 2, "/report.html\nwherry: too much is lost; use more data"),
        ("out-of-memory", 2, "memory has run out"),
        ("break", 1, "This is a bug in the converters"),
        ("die", 1, "died of SIGSEGV"),
    ],
)
def test_the_exit_status_tells_whose_fault_it_was(
    desk: HttpDesk, tmp_path: Path, end: str, status: int, err: str
) -> None:
    said = _start(desk, tmp_path, Script(end=end))
    assert (said.status, said.out) == (status, "")
    assert err in said.err
    again = _start(desk, tmp_path, Script(end=end), "--json")
    assert (again.status, again.json["state"]) == (status, "failed")


def test_a_directory_is_packed_the_same_way_each_time(desk: HttpDesk, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    (pictures / "cat").mkdir(parents=True)
    (pictures / "cat" / "1.png").write_bytes(b"one")
    numbers = []
    for moment in (1, 2_000_000_000):
        os.utime(pictures / "cat" / "1.png", (moment, moment))
        said = _start(desk, tmp_path, Script(), "--evaluation", pictures, "--json")
        assert said.status == 0, said
        numbers.append(said.json["order"]["evaluation"])
    assert numbers[0] == numbers[1]
    assert numbers[0]["file_name"] == "pictures.zip"
    report = desk.client.get(f"/models/{said.json['model']}").json()["report"]
    assert report["seen"]["evaluation"] == {"cat/1.png": sha256(b"one")}


def test_a_link_in_a_directory_is_refused(desk: HttpDesk, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "link").symlink_to("/etc/passwd")
    said = _start(desk, tmp_path, Script(), "--evaluation", tmp_path / "pictures")
    assert (said.status, "is no plain file" in said.err) == (2, True)


def test_a_conversion_is_cancelled_while_nobody_waits(desk: HttpDesk, tmp_path: Path) -> None:
    begun = _start(desk, tmp_path, Script(end="hang"), "--no-wait", "--json").json
    client = ConversionClient(desk.client)
    client.await_text(begun["id"], HANGING)
    assert "running: [2/3] hanging" in wherry("conversions", "show", str(begun["id"]), url=_url(desk)).out
    cancelled = wherry("conversions", "cancel", str(begun["id"]), "--json", url=_url(desk))
    assert (cancelled.status, cancelled.json["state"]) == (0, "cancelled")
    followed = wherry("conversions", "show", str(begun["id"]), "--follow", url=_url(desk))
    assert (followed.status, "cancelled" in followed.err) == (1, True)


def test_the_same_key_is_followed_and_not_begun_again(desk: HttpDesk, tmp_path: Path) -> None:
    first, second = (_start(desk, tmp_path, Script(), "--key", "build 1", "--json").json for _ in range(2))
    assert first == second


def test_ctrl_c_ends_the_watching_and_says_how_to_go_on(desk: HttpDesk, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    arguments = map(str, _files(tmp_path, Script(gate=str(gate))))
    with subprocess.Popen(
        [*WHERRY, "conversions", "start", *arguments, "--url", _url(desk)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if HANGING in line:
                break
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(LIMIT_S) == 130
    number = desk.client.get("/conversions").json()[0]["id"]
    assert f"conversion {number} goes on: `wherry conversions show {number} --follow`" in said
    assert "Traceback" not in said
    gate.touch()
    ConversionClient(desk.client).await_end(number, "succeeded")


@pytest.mark.parametrize(
    ("arguments", "err"),
    [
        (("missing.keras", "--name", "a", "--calibration", "missing.npz"), "missing.keras: No such file"),
        (("missing.keras", "--name", "No Name", "--calibration", "x"), "not a name of a model"),
        (("x", "--name", "a", "--calibration", "x", "-o", "labels"), "not name=value"),
        (("x", "--name", "a", "--calibration", "x", "-o", "labels=[1"), "not name=value"),
        (("x", "--name", "a", "--calibration", "x", "-o", "a=1", "-o", "a=2"), "do not go together"),
        (("os:getcwd", "--name", "a", "--calibration", "os:getcwd"), "would run code on the controller"),
    ],
)
def test_what_was_typed_wrong_is_said_in_one_line(desk: HttpDesk, arguments: tuple[str, ...], err: str) -> None:
    said = wherry("conversions", "start", *arguments, url=_url(desk))
    assert (said.status, len(said.err.splitlines())) == (2, 1)
    assert err in said.err


def test_options_are_toml_and_bare_words_are_strings() -> None:
    given = ["a=3", "b = nchw", "c.d=0.5", "c.e=[1, 2]", 'f="x y"', "g=true", "h=v1.2-x"]
    expected = {"a": 3, "b": "nchw", "c": {"d": 0.5, "e": [1, 2]}, "f": "x y", "g": True, "h": "v1.2-x"}
    assert options(given) == expected
    with pytest.raises(Invalid):
        options(["x=two words"])
