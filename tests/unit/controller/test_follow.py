"""Watching a rollout: which end a script may take for a good one, and what a person is shown."""

import io
from collections import Counter
from typing import Any, get_args

import pytest

from wherry.controller.cli.api import Api
from wherry.controller.cli.follow import follow, picture, went_well
from wherry.controller.cli.picture import MAX_ROWS, rows_of, settled
from wherry.controller.core.members import Standing
from wherry.controller.core.standing import PENDING
from wherry.controller.errors import Unavailable


@pytest.mark.parametrize(
    ("kind", "state", "counts", "well"),
    [
        ("rollout", "completed", {"committed": 3}, True),
        ("rollout", "completed", {"committed": 3, "silent": 1}, True),
        ("rollout", "reverted", {"reverted": 1}, False),
        ("rollback", "completed", {"committed": 2, "incompatible": 1}, True),
        ("rollback", "completed", {"committed": 2, "reverted": 1}, False),
        ("rollback", "completed", {"committed": 2, "silent": 1}, False),
    ],
)
def test_a_rollback_is_good_only_where_every_device_came_back(
    kind: str, state: str, counts: dict[str, int], well: bool
) -> None:
    assert went_well({"kind": kind, "state": state, "counts": counts}) is well


def device(name: str, standing: str, *, wave: int = 1, restored: bool = False, reason: str = "") -> dict[str, Any]:
    return {
        "device": name, "wave": wave, "standing": standing, "reason": reason,
        "variant": None, "previous": "digits:1", "restored": restored,
    }  # fmt: skip


def rollout(devices: list[dict[str, Any]], state: str = "running") -> dict[str, Any]:
    return {
        "id": 7, "kind": "rollout", "plan": {"model": "digits", "version": 2}, "state": state,
        "live": state == "running", "reason": "", "wave": 1, "wave_count": 2,
        "counts": dict(Counter(entry["standing"] for entry in devices)), "devices": devices,
        "gates": [{"gate": "failures", "verdict": "ok", "reason": "none has failed"}],
    }  # fmt: skip


def drawn(view: dict[str, Any], columns: int = 100) -> str:
    """As a terminal without colours shows it."""
    from rich.console import Console

    out = io.StringIO()
    Console(width=columns, highlight=False, file=out, color_system=None).print(picture(view))
    return out.getvalue()


def bar_of(name: str, text: str) -> tuple[int, str]:
    """How many cells of the bar are filled, and what stands beside it."""
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line.count("━"), line.removeprefix(name).strip("━╸ ")


def test_every_wave_has_a_bar_and_so_has_the_whole() -> None:
    waves = [device("a", "committed"), device("b", "reverted")]
    waves += [
        device(f"c{n}", standing, wave=2) for n, standing in enumerate(("committed", "sent", "waiting", "waiting"))
    ]
    text = drawn(rollout([device("old", "incompatible", wave=0), *waves]))
    assert bar_of("wave 1", text) == (24, "2/2  1 committed, 1 reverted")
    assert bar_of("wave 2", text) == (6, "1/4  1 committed, 1 sent, 2 waiting")
    assert bar_of("all", text) == (12, "3/6  2 committed, 1 reverted, 1 sent, 2 waiting")
    assert bar_of("set apart", text) == (0, "1  1 incompatible")
    assert text.startswith("rollout 7 digits:2 running, wave 1 of 2\n"), "the counts stand beside the bars"


@pytest.mark.parametrize("standing", get_args(Standing))
def test_a_bar_counts_every_standing_that_has_ended(standing: str) -> None:
    assert settled([device("a", standing)]) == (standing not in PENDING)


def test_what_was_taken_back_is_counted_by_that() -> None:
    text = drawn(rollout([device("a", "committed", restored=True), device("b", "reverted")], "reverted"))
    assert bar_of("all", text) == (24, "2/2  1 reverted, 1 taken back")


@pytest.mark.parametrize(
    ("count", "failed", "listed", "said"),
    [
        (MAX_ROWS, 0, MAX_ROWS, ""),
        (MAX_ROWS + 1, 0, 0, "31 devices, none of which failed"),
        (MAX_ROWS + 1, 2, 2, "the 2 that failed, of 31 devices"),
        (200, 150, MAX_ROWS, "the first 30 of 150 that failed, of 200 devices"),
    ],
)
def test_of_many_devices_those_are_listed_that_failed(count: int, failed: int, listed: int, said: str) -> None:
    devices = [device(f"pi-{n}", "reverted" if n < failed else "committed") for n in range(count)]
    rows, told = rows_of(devices)
    assert (len(rows), said in told) == (listed, True)
    text = drawn(rollout(devices))
    assert sum("pi-" in line for line in text.splitlines()) == listed
    assert said in text
    assert text.index("none has failed") < (text.index("pi-") if listed else len(text)), "gates stand above devices"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_picture_is_no_wider_than_the_terminal(columns: int) -> None:
    reason = "probation: 12 of 40 answered with an error, and the p95 was three times as long as before"
    text = drawn(rollout([device("pi-1", "reverted", reason=reason), device("pi-2", "sent", wave=2)]), columns)
    assert max(map(len, text.splitlines())) <= columns


def test_a_device_cannot_make_the_terminal_obey() -> None:
    text = drawn(rollout([device("pi-1", "reverted", reason="[red]\x1b[2Jgone")]))
    assert "\x1b" not in text
    assert "[red]" in text


def test_a_rollout_that_waits_its_turn_has_no_bars() -> None:
    text = drawn(rollout([], "queued") | {"gates": [], "live": True, "reason": "waits: rollout 6 is running"})
    assert text.strip() == "rollout 7 digits:2 is queued; it waits: rollout 6 is running"


def test_a_pipe_is_told_each_change_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The picture is for terminals: a log of a job has a line a change."""
    views = [rollout([device("a", standing)]) for standing in ("sent", "sent", "in-progress")]
    views.append(rollout([device("a", "committed")], "completed") | {"reason": "1 of 1"})
    monkeypatch.setattr("wherry.controller.cli.follow.POLL_S", 0.0)
    follow(_Recorded(views), 7, as_json=False)
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "1 sent", "1 in-progress", "1 of 1",
    ]  # fmt: skip


AWAY = Unavailable("no controller answers")
ENDED = rollout([device("a", "committed")], "completed")


def test_a_controller_that_is_away_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.controller.cli.follow.POLL_S", 0.0)
    follow(_Recorded([rollout([device("a", "sent")]), AWAY, AWAY, ENDED]), 7, as_json=False)


def test_one_that_stays_away_or_never_answered_ends_the_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.controller.cli.follow.POLL_S", 0.0)
    with pytest.raises(Unavailable):
        follow(_Recorded([AWAY, ENDED]), 7, as_json=False)
    monkeypatch.setattr("wherry.controller.cli.follow.PATIENCE_S", 0.0)
    with pytest.raises(Unavailable):
        follow(_Recorded([rollout([device("a", "sent")]), AWAY, ENDED]), 7, as_json=False)


class _Recorded(Api):
    """A controller's answers, in their order, and where it does not answer."""

    def __init__(self, views: list[dict[str, Any] | Unavailable]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._views = iter(views)

    def get(self, path: str, **query: str | int) -> Any:
        assert (path, query) == ("rollouts/7", {})
        found = next(self._views)
        if isinstance(found, Unavailable):
            raise found
        return found
