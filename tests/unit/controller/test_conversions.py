"""The rows of conversions: each step of a job is one transaction, and what comes too late is ignored."""

import pytest

from tests.support.controller_values import make_manifest
from tests.support.depot import Depot
from wherry.controller.core.conversion_order import ConversionOrder, Input
from wherry.controller.errors import Conflict, Invalid
from wherry.controller.operations import audit, conversions, registry
from wherry.controller.operations.conversions import MAX_ATTEMPTS, MAX_WARNINGS, Job, Result
from wherry.protocol.blob import describe
from wherry.protocol.conversion import Failed, Progress, Warned

SOURCE = describe(b"a network")
BUG = Failed(kind="KeyError", message="'x'", ours=True)


def _ask(depot: Depot, **more: str) -> int:
    registry.add_blob(depot.db, SOURCE, now_s=depot.now_s)
    given = Input(digest=SOURCE.digest, file_name="net.keras")
    order = ConversionOrder(model="digits", source=given, calibration=given, notes=more.pop("notes", ""))
    return conversions.create(depot.db, order, now_s=depot.now_s, actor="ann", **more)[0].id


def _take(depot: Depot) -> Job:
    job = conversions.take(depot.db, now_s=depot.now_s)
    assert job is not None
    return job


def _state(depot: Depot, number: int) -> str:
    return conversions.get(depot.db, number).state


def _result(salt: str = "a") -> Result:
    manifest = make_manifest(salt)
    blobs = [ref for variant in manifest.variants for ref in (variant.artifact, variant.golden)]
    return Result(manifest=manifest, report=b"{}", blobs=tuple(blobs))


def _succeed(depot: Depot, job: Job, result: Result | None = None) -> None:
    conversions.succeed(depot.db, job, result or _result(), keep=depot.keep, now_s=depot.now_s)


def test_jobs_are_taken_oldest_first_and_each_once(depot: Depot) -> None:
    numbers = [_ask(depot) for _ in range(3)]
    assert [_take(depot).id for _ in numbers] == numbers
    assert conversions.take(depot.db, now_s=1.0) is None


def test_the_version_and_the_end_of_the_job_are_one_transaction(depot: Depot) -> None:
    def full(_data: bytes) -> None:
        raise OSError("no space left")

    number, job = _ask(depot, notes="n"), _take(depot)
    with pytest.raises(OSError, match="no space"):
        conversions.succeed(depot.db, job, _result(), keep=full, now_s=1.0)
    assert (_state(depot, number), registry.list_models(depot.db)) == ("running", [])
    _succeed(depot, job)
    found = conversions.get(depot.db, number)
    assert (found.state, found.version, found.live) == ("succeeded", 1, False)
    version = registry.get_version(depot.db, "digits:1")
    assert (version.notes, version.created_by) == ("n", "ann")
    told = [(row.action, row.actor, row.subject) for row in audit.list_audit(depot.db)]
    assert told[0] == ("conversion-succeeded", "converter", f"conversion {number}")


def test_a_package_that_names_blobs_which_are_not_there_registers_nothing(depot: Depot) -> None:
    number, job = _ask(depot), _take(depot)
    with pytest.raises(Invalid, match="not uploaded"):
        _succeed(depot, job, Result(manifest=make_manifest("b"), report=b"{}", blobs=()))
    assert (_state(depot, number), registry.list_models(depot.db)) == ("running", [])


@pytest.mark.parametrize("late", ["succeed", "fail", "put_back", "progress"])
def test_what_a_worker_says_of_a_cancelled_job_is_ignored(depot: Depot, late: str) -> None:
    number, job = _ask(depot), _take(depot)
    conversions.cancel(depot.db, number, now_s=1.0, actor="ann")
    before = conversions.get(depot.db, number)
    _say(depot, job, late)
    assert conversions.get(depot.db, number) == before
    assert registry.list_models(depot.db) == []


@pytest.mark.parametrize("late", ["succeed", "fail", "put_back", "progress"])
def test_what_a_worker_says_of_an_attempt_before_is_ignored(depot: Depot, late: str) -> None:
    number, first = _ask(depot), _take(depot)
    conversions.recover(depot.db, now_s=1.0)
    second = _take(depot)
    assert (first.attempt, second.attempt) == (1, 2)
    before = conversions.get(depot.db, number)
    _say(depot, first, late)
    assert conversions.get(depot.db, number) == before
    _succeed(depot, second)
    assert _state(depot, number) == "succeeded", "the negative control"


def _say(depot: Depot, job: Job, what: str) -> None:
    if what == "succeed":
        _succeed(depot, job)
    elif what == "fail":
        conversions.fail(depot.db, job, BUG, now_s=2.0)
    elif what == "put_back":
        conversions.put_back(depot.db, job)
    else:
        conversions.note_progress(depot.db, job, Progress(step=2, steps=6, text="late"))
        conversions.note_warning(depot.db, job, Warned(message="late"))


def test_a_job_during_which_controllers_are_killed_is_given_up_after_three_attempts(depot: Depot) -> None:
    number, waiting = _ask(depot), _ask(depot)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert _take(depot).attempt == attempt
        depot.reopen()
        conversions.recover(depot.db, now_s=5.0)
    found = conversions.get(depot.db, number)
    assert (found.state, found.attempts, found.ended_s) == ("failed", 3, 5.0)
    assert found.failure is not None
    assert (found.failure.kind, "3 times" in found.failure.message) == ("ControllerEnded", True)
    assert _take(depot).id == waiting


def test_good_ends_of_the_controller_do_not_count(depot: Depot) -> None:
    number = _ask(depot)
    for _ in range(MAX_ATTEMPTS + 2):
        conversions.put_back(depot.db, _take(depot))
        conversions.recover(depot.db, now_s=5.0)
    assert (_state(depot, number), _take(depot).attempt) == ("queued", 1)


def test_what_has_ended_cannot_be_cancelled_but_what_is_cancelled_can_again(depot: Depot) -> None:
    number = _ask(depot)
    conversions.fail(depot.db, _take(depot), BUG, report=b'{"a":1}', now_s=2.0)
    with pytest.raises(Conflict, match="has failed"):
        conversions.cancel(depot.db, number, now_s=3.0, actor="ann")
    other = _ask(depot)
    states = [conversions.cancel(depot.db, other, now_s=at_s, actor="ann") for at_s in (3.0, 4.0)]
    assert [(state.state, state.ended_s) for state in states] == [("cancelled", 3.0)] * 2
    assert conversions.take(depot.db, now_s=4.0) is None


def test_warnings_are_bounded_and_begin_anew_with_an_attempt(depot: Depot) -> None:
    number, job = _ask(depot), _take(depot)
    for count in range(MAX_WARNINGS + 5):
        conversions.note_warning(depot.db, job, Warned(message=str(count)))
    assert len(conversions.get(depot.db, number).warnings) == MAX_WARNINGS
    conversions.recover(depot.db, now_s=1.0)
    _take(depot)
    assert conversions.get(depot.db, number).warnings == ()


def test_a_key_is_that_of_one_request(depot: Depot) -> None:
    assert _ask(depot, key="k") == _ask(depot, key="k")
    assert _ask(depot) != _ask(depot), "without a key each is a new one"
    with pytest.raises(Conflict, match="another request"):
        _ask(depot, key="k", notes="other")
