"""How long `wherry devices action --wait` waits for what an answer brings, whatever this machine's clock says."""

import time
from typing import Any

import pytest

from wherry.controller.cli import actions

HOUR_S = 3600.0


class Answers:
    """Of a controller, one after the other, the last one again and again."""

    def __init__(self, *found: dict[str, Any]) -> None:
        self._found, self.asked = list(found), 0

    def get(self, _path: str) -> dict[str, Any]:
        self.asked += 1
        return self._found.pop(0) if len(self._found) > 1 else self._found[0]


def _done(answered_s: float, *, complete: bool) -> dict[str, Any]:
    upload = {"complete": complete, "blocks_here": int(complete), "blocks": 1}
    action = {"kind": "collect-logs", "id": "a-1"}
    return {"action": action, "state": "done", "reason": "", "answered_s": answered_s, "upload": upload}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "POLL_S", 0.001)


@pytest.mark.parametrize("ahead_s", [-HOUR_S, 0.0, HOUR_S])
def test_the_last_block_is_given_a_moment_after_the_answer(ahead_s: float) -> None:
    """`ahead_s`: how far the controller's clock is ahead of ours."""
    late = [_done(time.time() + ahead_s, complete=False)] * 3
    answers = Answers(*late, _done(time.time() + ahead_s, complete=True))
    found = actions._await_answer(answers, "devices/pi-1", "a-1", quiet=True)  # type: ignore[arg-type]  # all it asks
    assert found["upload"]["complete"]
    assert answers.asked == 4


@pytest.mark.parametrize("ahead_s", [-HOUR_S, 0.0, HOUR_S])
def test_an_upload_that_was_lost_is_not_waited_for_longer(ahead_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "UPLOAD_GRACE_S", 0.05)
    answers = Answers(_done(time.time() + ahead_s, complete=False))
    found = actions._await_answer(_bounded(answers), "devices/pi-1", "a-1", quiet=True)  # type: ignore[arg-type]
    assert not found["upload"]["complete"]
    assert answers.asked > 1


def _bounded(answers: Answers, limit: int = 20_000) -> Answers:
    get = answers.get

    def counted(path: str) -> dict[str, Any]:
        assert answers.asked < limit, "it waits without end"
        return get(path)

    answers.get = counted  # type: ignore[method-assign]
    return answers
