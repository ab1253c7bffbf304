"""Conversions as a client of the API has them, with a real child process that does as it is told."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.conversion_desk import DATA, ConversionClient, converters, work_dirs
from tests.support.fake_converter import HANGING, PROGRAM, Script
from tests.support.http_desk import serving
from tests.support.wait import wait_until
from wherry.controller.adapters import converter_process
from wherry.protocol.blob import sha256

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ConversionClient]:
    with serving(tmp_path, converter=PROGRAM) as desk:
        yield ConversionClient(desk.client)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[ConversionClient]:
    """Nobody converts: jobs stay queued."""
    with serving(tmp_path) as desk:
        yield ConversionClient(desk.client)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConversionClient]:
    """One for all requests that leave nothing."""
    with serving(tmp_path_factory.mktemp("refusing")) as desk:
        yield ConversionClient(desk.client)


def _zip(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def _none_left(data_dir: Path) -> bool:
    return not converters(data_dir) and not work_dirs(data_dir)


def test_a_conversion_becomes_a_version_with_its_report_and_leaves_nothing_else(
    desk: ConversionClient, tmp_path: Path
) -> None:
    script = Script(warning="values are 255 times too large", chatter="W0000 tensors")
    asked = desk.post(desk.body(script, notes="first", options={"labels": ["a", "b"]}))
    number = asked.json()["id"]
    assert asked.headers["location"] == f"/api/v1/conversions/{number}"
    done = desk.await_end(number, "succeeded")
    assert (done["version"], done["attempts"], done["failure"]) == (1, 1, None)
    assert (done["step"], done["steps"], done["text"]) == (2, 3, "working")
    assert done["warnings"] == [{"message": "values are 255 times too large", "fix": "look at it"}]
    version = desk.client.get("/models/digits/versions/1").json()
    assert (version["notes"], version["created_by"], version["report"]["labels"]) == ("first", "operator", ["a", "b"])
    assert version["report"]["seen"] == {"calibration": sha256(DATA)}
    artifact = version["manifest"]["variants"][0]["artifact"]["digest"]
    assert desk.client.get(f"/artifacts/{artifact}").content == b"artifact a int8"
    log = desk.log(number)
    assert [text in log for text in ("[1/3] reading", "W0000 tensors", "warning: values")] == [True] * 3
    page = desk.client.get(f"/conversions/{number}/report.html", follow_redirects=True)
    assert (page.text, page.url.path) == ("<p>well</p>", "/api/v1/models/digits/versions/1/report.html")
    assert desk.actions() == ["conversion-created", "version-created", "conversion-succeeded"]
    assert _none_left(tmp_path)


@pytest.mark.parametrize(
    ("end", "kind", "ours", "message"),
    [
        ("refuse", "BudgetMissed", False, "too much is lost"),
        ("break", "KeyError", True, "'x'"),
        ("die", "Died", True, "died of SIGSEGV"),
        ("out-of-memory", "Killed", False, "memory has run out"),
        ("leave", "Died", True, "ended with status 3"),
        ("babble", "ValueError", True, "not a line of the protocol"),
        ("lie", "RuntimeError", True, "of the model other"),
        ("lack", "RuntimeError", True, "manifest.json"),
    ],
)
def test_a_conversion_that_fails_says_why_and_is_not_tried_again(
    desk: ConversionClient, tmp_path: Path, end: str, kind: str, ours: bool, message: str
) -> None:
    done = desk.await_end(desk.ask(Script(end=end)), "failed")
    failure = done["failure"]
    assert (failure["kind"], failure["ours"], done["attempts"]) == (kind, ours, 1)
    assert message in failure["message"]
    assert desk.versions() == []
    assert desk.actions() == ["conversion-created", "conversion-failed"]
    assert _none_left(tmp_path)
    assert desk.await_end(desk.ask(Script()), "succeeded")["version"] == 1, "the next one is not held up"


def test_files_are_called_by_the_names_that_the_client_gave_them(desk: ConversionClient) -> None:
    script = Script(end="complain", warning="{request.calibration} is odd")
    number = desk.ask(script, evaluation=desk.put(_zip(**{"a.png": b"1"}), "pictures.zip"))
    done = desk.await_end(number, "failed")
    assert done["failure"]["message"] == "net.keras and pictures.zip/a.png"
    assert done["warnings"][0]["message"] == "train.npz is odd"


def test_a_refusal_keeps_its_report(desk: ConversionClient) -> None:
    done = desk.await_end(desk.ask(Script(end="refuse")), "failed")
    assert (done["report"], done["failure"]["fix"]) == ({"accuracy": 0.1}, "use more data")
    page = desk.client.get(f"/conversions/{done['id']}/report.html")
    assert (page.text, page.headers["content-security-policy"].split(";")[0]) == ("<p>bad</p>", "sandbox")


def test_one_runs_at_a_time_the_oldest_first(desk: ConversionClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = desk.ask(Script(gate=str(gate)))
    others = [desk.ask(Script(salt=salt)) for salt in "bc"]
    desk.await_text(first, HANGING)
    assert [desk.get(number)["state"] for number in others] == ["queued", "queued"]
    gate.touch()
    assert [desk.await_end(number, "succeeded")["version"] for number in (first, *others)] == [1, 2, 3]


def test_several_workers_run_several_at_a_time(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with serving(tmp_path, converter=PROGRAM, conversion_workers=2) as served:
        desk = ConversionClient(served.client)
        numbers = [desk.ask(Script(salt=salt, gate=str(gate))) for salt in "ab"]
        for number in numbers:
            desk.await_text(number, HANGING)
        gate.touch()
        assert sorted(desk.await_end(number, "succeeded")["version"] for number in numbers) == [1, 2]


def test_the_same_content_again_is_the_same_version(desk: ConversionClient) -> None:
    assert [desk.await_end(desk.ask(Script()), "succeeded")["version"] for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("end", ["hang", "cling"])
def test_a_running_conversion_is_cancelled_with_all_that_it_started(
    desk: ConversionClient, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter_process, "STOP_TIMEOUT_S", 0.3)
    number = desk.ask(Script(end=end))
    desk.await_text(number, "clinging" if end == "cling" else HANGING)
    assert len(converters(tmp_path)) == (2 if end == "cling" else 1)
    for _ in range(3):
        assert desk.client.post(f"/conversions/{number}/cancel").json()["state"] == "cancelled"
    wait_until(lambda: _none_left(tmp_path), "nothing is left of it")
    assert desk.await_end(desk.ask(Script()), "succeeded")["version"] == 1
    assert desk.client.post(f"/conversions/{number}/cancel").status_code == 200
    assert desk.actions().count("conversion-cancelled") == 1


def test_a_queued_conversion_is_cancelled_at_once_and_never_runs(desk: ConversionClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first, second = desk.ask(Script(gate=str(gate))), desk.ask(Script(salt="b"))
    assert desk.client.post(f"/conversions/{second}/cancel").json()["state"] == "cancelled"
    gate.touch()
    desk.await_end(first, "succeeded")
    desk.await_end(desk.ask(Script(salt="c")), "succeeded")
    assert (desk.versions(), desk.get(second)["attempts"]) == ([1, 2], 0)
    refused = desk.client.post(f"/conversions/{first}/cancel")
    assert (refused.status_code, refused.json()["title"]) == (409, "not possible now")


def test_a_controller_that_ends_in_good_order_begins_the_job_anew_at_the_next_start(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with serving(tmp_path, converter=PROGRAM) as served:
        desk = ConversionClient(served.client)
        number = desk.ask(Script(gate=str(gate)))
        desk.await_text(number, HANGING)
    assert _none_left(tmp_path)
    gate.touch()
    with serving(tmp_path, converter=PROGRAM) as served:
        desk = ConversionClient(served.client)
        assert desk.await_end(number, "succeeded")["attempts"] == 1
        assert desk.actions() == ["conversion-created", "version-created", "conversion-succeeded"]


def test_directories_come_as_zip_files(desk: ConversionClient) -> None:
    pictures = desk.put(_zip(**{"cat/1.png": b"one", "dog/2.png": b"two"}), "Pictures.ZIP")
    number = desk.ask(Script(), evaluation=pictures)
    desk.await_end(number, "succeeded")
    seen = desk.client.get("/models/digits").json()["report"]["seen"]["evaluation"]
    assert seen == {"cat/1.png": sha256(b"one"), "dog/2.png": sha256(b"two")}


def test_a_zip_that_leads_outside_fails_the_conversion_and_writes_nothing(
    desk: ConversionClient, tmp_path: Path
) -> None:
    evil = desk.put(_zip(**{"../../escaped.txt": b"here"}), "evil.zip")
    done = desk.await_end(desk.ask(Script(), evaluation=evil), "failed")
    assert "evaluation: the .zip has '../../escaped.txt'" in done["failure"]["message"]
    assert (done["failure"]["ours"], list(tmp_path.rglob("escaped*"))) == (False, [])


def test_the_same_key_is_the_same_conversion_and_another_request_is_refused(queue: ConversionClient) -> None:
    body = queue.body(Script(), key="build 17")
    first, again = queue.post(body), queue.post(body)
    assert (first.status_code, again.status_code, first.json()) == (202, 200, again.json())
    other = queue.post(body | {"notes": "another"})
    assert (other.status_code, "build 17" in other.json()["detail"]) == (409, True)
    assert len(queue.client.get("/conversions").json()) == 1


def test_conversions_are_listed_newest_first_page_by_page(queue: ConversionClient) -> None:
    numbers = [queue.ask(Script(salt=str(salt))) for salt in range(5)]
    seen: list[int] = []
    query: dict[str, int] = {"max_conversions": 2}
    while page := queue.client.get("/conversions", params=query).json():
        assert len(page) <= 2
        seen += [entry["id"] for entry in page]
        query["before_id"] = seen[-1]
    assert seen == numbers[::-1]
    assert {entry["state"] for entry in queue.client.get("/conversions").json()} == {"queued"}
    assert queue.log(numbers[0]) == ""
    assert queue.client.get(f"/conversions/{numbers[0]}/report.html").status_code == 404


DIGEST = "0" * 64
BAD: dict[str, dict[str, Any]] = {
    "no model": {"model": None},
    "a name that cannot be": {"model": "../x"},
    "not uploaded": {"source": {"digest": DIGEST, "file_name": "net.keras"}},
    "no digest": {"source": {"file_name": "net.keras"}},
    "not a digest": {"source": {"digest": "../../etc/passwd", "file_name": "net.keras"}},
    "a directory in the name": {"source": {"digest": DIGEST, "file_name": "../net.keras"}},
    "no suffix": {"source": {"digest": DIGEST, "file_name": "net"}},
    "code as the source": {"source": {"callable": "os:getcwd"}},
    "code as data": {"calibration": {"callable": "package.module:samples"}},
    "an unknown option": {"options": {"colour": "red"}},
    "an unknown option within": {"options": {"recipe": {"health": {"p95": 3}}}},
    "an unknown key of the recipe": {"recipe": "[budget]\nmax_los = 0.1"},
    "a limit that is no number": {"recipe": "[budget]\nmax_accuracy_loss = nan"},
    "a recipe that is no TOML": {"recipe": "[budget"},
    "a variant that does not exist": {"recipe": "int3"},
    "a recipe twice": {"recipe": "int8", "options": {"recipe": {}}},
    "an option of the wrong type": {"options": {"labels": 3}},
    "an option out of range": {"options": {"input_shapes": {"x": [0]}}},
    "an option that is a path": {"options": {"cache_dir": "/etc"}},
    "an option that is a field": {"options": {"source": "/etc/passwd"}},
    "an option that says where": {"options": {"out_dir": "/tmp/here"}},
    "pickles": {"options": {"trust_pickle": True}},
    "options that are no object": {"options": [1]},
    "a key without an end": {"key": "k" * 201},
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_converted_is_refused_with_the_reason(refusing: ConversionClient, case: str) -> None:
    answer = refusing.post(refusing.body(Script()) | BAD[case])
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text
    assert answer.json()["detail"]
    assert refusing.client.get("/conversions").json() == []


def test_a_body_that_is_right_is_not_refused(queue: ConversionClient) -> None:
    """The negative control of the one before."""
    recipe = 'variants = ["int8", "float16"]\n[budget]\nmax_accuracy_loss = 0.02\n[health]\np95_ms = 20'
    options = {"labels": ["a"], "input_shapes": {"x": [1, 28, 28, 1]}, "data_layout": "nhwc"}
    assert queue.post(queue.body(Script(), recipe=recipe, options=options)).status_code == 202
    assert queue.post(queue.body(Script(), recipe="int8,float16")).status_code == 202


def test_code_of_clients_is_let_through_where_the_operator_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, trust_conversion_code=True) as served:
        desk = ConversionClient(served.client)
        code = {"source": {"callable": "nets.small:build"}, "options": {"trust_pickle": True}}
        assert desk.post(desk.body(Script()) | code).status_code == 202


@pytest.mark.parametrize("path", ["/conversions/7", "/conversions/7/log", "/conversions/7/report.html"])
def test_what_does_not_exist_is_not_found(refusing: ConversionClient, path: str) -> None:
    assert refusing.client.get(path).status_code == 404
    assert refusing.client.post("/conversions/7/cancel").status_code == 404
    assert refusing.client.get(f"/conversions/{10**30}").status_code == 422
