"""What a running agent says of itself, and the judgements of the doctor that need no board in trouble."""

import queue
from pathlib import Path

import msgspec
import pytest

from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.range_server import serving_blobs
from tests.support.rig import Rig
from wherry.agent.adapters.control import Asked, ControlSocket, NoAnswer, Request, ask
from wherry.agent.adapters.http_upload import HttpUpload, HttpUploaded, repr_digest
from wherry.agent.cli.check import fail, guarded
from wherry.agent.cli.check_board import BUILT_S, _throttling, judge_clock, judge_service
from wherry.agent.core.record import DeviceRecord
from wherry.agent.core.reset import forget_all, forget_quarantines, forget_slots
from wherry.agent.core.status import Status, status_text
from wherry.protocol.blob import sha256

V1, V2 = make_version(1), make_version(2)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "state").boot()


def status(rig: Rig) -> Status:
    answers: list[bytes] = []
    rig.inbox.put(Asked(Request("status"), answers.append))
    rig.settle()
    return msgspec.json.decode(answers[0], type=Status)


def test_a_slot_tells_its_version_its_worker_and_how_the_last_attempt_ended(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, V2)
    found = status(rig)
    (slot,) = found.slots
    assert (found.connected, found.order, slot.phase, slot.serving) == (True, (1, 2), "running", "digits:1 (int8)")
    assert (slot.attempted, slot.result, len(slot.quarantine)) == ("digits:2", "reverted", 1)
    assert slot.worker is not None
    assert (slot.worker.pid, slot.worker.rss_bytes) == (1, 50_000_000)
    assert slot.worker.inferences >= 300
    assert slot.worker.p95_ms == pytest.approx(1.0, rel=0.05)
    assert [path.rpartition("/")[2] for path in slot.sockets] == ["main.sock", "main.fast.sock"]


def test_since_when_a_phase_lasts_is_known(rig: Rig) -> None:
    rig.wait(100)
    before = status(rig).slots[0].worker
    rig.deploy(1, V1)
    after = status(rig).slots[0].worker
    assert before is not None
    assert after is not None
    assert after.since_s > before.since_s + 100


def test_an_agent_without_a_broker_says_so(rig: Rig) -> None:
    rig.link.disconnect()
    rig.settle()
    assert status(rig).connected is False
    assert status_text(False, rig.store.record, ("main",)) == "no broker; main empty"


def test_a_reset_forgets_what_it_was_told_and_keeps_what_guards_against_repetition(rig: Rig) -> None:
    rig.deploy(1, V1)
    record = msgspec.structs.replace(rig.store.record.with_executed("a"), floor_s=5.0, boots=7)
    found = forget_slots(record, ("main",))
    assert found == DeviceRecord(boots=7, executed=("a",), floor_s=5.0, artifacts_url=record.artifacts_url, slots={})
    rig.store.save(found)
    rig.cut().boot()
    rig.want(1, V1)
    rig.wait(6)
    assert rig.slot.state == "running", "the same document is taken again"


def test_a_reset_of_everything_forgets_a_false_time_too_and_still_no_order_twice(rig: Rig) -> None:
    record = msgspec.structs.replace(rig.store.record.with_executed("a"), floor_s=4e9, boots=7)
    assert forget_all(record) == DeviceRecord(boots=7, executed=("a",), artifacts_url=record.artifacts_url)
    rig.store.save(forget_all(record))
    rig.cut().boot()
    rig.order("r1", "restart-slot")
    assert "after its time" not in rig.events("action-refused")[0].reason


def test_a_reset_of_the_quarantine_leaves_what_serves(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, V2)
    found = forget_quarantines(rig.store.record, ("main",))
    assert found.slot("main").quarantine == ()
    assert found.slot("main").incumbent == V1.assignment.ref
    assert forget_quarantines(rig.store.record, ("side",)) == rig.store.record


def test_a_socket_without_an_agent_and_one_that_is_stale_are_both_nobody(tmp_path: Path) -> None:
    with pytest.raises(NoAnswer) as none:
        ask(tmp_path, Request("status"))
    control = ControlSocket(tmp_path, lambda _: None)
    assert control.start() is None
    kept = (tmp_path / "agent.sock").rename(tmp_path / "kept")
    control.close()
    kept.rename(tmp_path / "agent.sock")
    with pytest.raises(NoAnswer) as stale:
        ask(tmp_path, Request("status"))
    assert (none.value.present, stale.value.present) == (False, False)
    again = ControlSocket(tmp_path, lambda asked: asked.reply(b"{}"))
    assert again.start() is None
    assert ask(tmp_path, Request("status")) == b"{}"
    again.close()
    assert list(tmp_path.iterdir()) == []


def test_an_agent_runs_where_the_socket_cannot_be_opened(tmp_path: Path) -> None:
    problem = ControlSocket(tmp_path / ("x" * 120), lambda _: None).start()
    assert problem is not None
    assert "too long" in problem


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "ftp://x/y", "nonsense", "http://[", "https://127.0.0.1:1/"])
def test_an_upload_that_comes_to_nothing_says_why_and_says_it_once(url: str) -> None:
    answers: queue.SimpleQueue[HttpUploaded] = queue.SimpleQueue()
    HttpUpload(answers.put).put(url, "a1", b"data", sha256(b"data"))
    answer = answers.get(timeout=20)
    assert answer.action_id == "a1"
    assert answer.problem.startswith(url)


def test_a_server_that_does_not_take_it_is_named_by_its_status() -> None:
    answers: queue.SimpleQueue[HttpUploaded] = queue.SimpleQueue()
    with serving_blobs({}) as url:
        HttpUpload(answers.put).put(f"{url}/x", "a1", b"data", sha256(b"data"))
        assert "HTTP status 501" in answers.get(timeout=20).problem


def test_the_digest_is_written_as_its_standard_has_it() -> None:
    assert repr_digest(sha256(b"")) == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"LoadState": "not-found"}, "warn"),
        ({"LoadState": "loaded", "ActiveState": "failed"}, "fail"),
        ({"LoadState": "loaded", "ActiveState": "active", "Type": "simple", "WatchdogUSec": "0"}, "warn"),
        ({"LoadState": "loaded", "ActiveState": "active", "Type": "notify", "WatchdogUSec": "2min"}, "ok"),
    ],
)
def test_what_systemd_knows_is_judged(facts: dict[str, str], verdict: str) -> None:
    assert judge_service(facts).verdict == verdict


@pytest.mark.parametrize(("now_s", "verdict"), [(0.0, "warn"), (BUILT_S - 1.0, "warn"), (BUILT_S + 1.0, "ok")])
def test_a_clock_in_1970_is_noticed(now_s: float, verdict: str) -> None:
    assert judge_clock(now_s, kept_right=False).verdict == verdict


@pytest.mark.parametrize(
    ("bits", "verdicts"),
    [("0", ["ok"]), ("50005", ["fail"]), ("4", ["warn"]), ("50000", ["warn"]), ("nonsense", []), (None, [])],
)
def test_throttling_is_read_where_the_board_shows_it(tmp_path: Path, bits: str | None, verdicts: list[str]) -> None:
    path = tmp_path / "get_throttled"
    if bits is not None:
        path.write_text(bits + "\n")
    assert [check.verdict for check in _throttling(path)] == verdicts


def test_a_check_that_fails_itself_does_not_keep_the_others_from_being_made() -> None:
    def broken() -> list[object]:
        raise ZeroDivisionError("of no use")

    (found,) = guarded("state", broken)  # type: ignore[arg-type]
    assert (found.verdict, found.name) == ("warn", "state")
    assert "ZeroDivisionError: of no use" in found.says
    assert fail("a", "b", "c").fix == "c"
