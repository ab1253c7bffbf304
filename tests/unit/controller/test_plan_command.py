"""`wherry rollout plan`, and `start` with a plan from a file, as a person gives them to a controller."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.depot import FLEET, Depot
from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import Said, wherry
from wherry.controller.cli.plan_options import ELSEWHERE, HELP, ONLY_IN_FILES
from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.plan_file import plan_of, read_plan
from wherry.controller.operations import aliases

pytestmark = pytest.mark.slow

CAREFUL = 'model = "digits"\nversion = 1\nsoak_s = 30\nmin_inferences = 0\nwaves = "1,100%"\nmax_crash_share = "off"\n'


@contextmanager
def controller(data_dir: Path) -> Iterator[HttpDesk]:
    """Four boards, digits:1 and digits:2; the first is `stable`."""
    with serving(data_dir) as desk:
        depot = Depot.of(desk.db, 1000.0)
        for salt in "ab":
            depot.version(salt)
        for device in FLEET:
            depot.device(device)
        aliases.set_alias(desk.db, "digits", "stable", 1, now_s=1000.0, actor="ann")
        yield desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with controller(tmp_path) as desk:
        yield desk


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDesk]:
    """For tests that only ask; that nothing was begun by any of them is seen at the end."""
    with controller(tmp_path_factory.mktemp("quiet")) as desk:
        yield desk
        assert begun(desk) == []


@pytest.fixture
def careful(tmp_path: Path) -> Path:
    path = tmp_path / "careful.toml"
    path.write_text(CAREFUL)
    return path


def rollout(desk: HttpDesk, *arguments: str | Path) -> Said:
    return wherry("rollout", *arguments, url=f"http://127.0.0.1:{desk.port}")


def begun(desk: HttpDesk) -> list[int]:
    return [entry["id"] for entry in desk.client.get("/rollouts").json()]


def test_a_plan_is_told_in_words_and_sends_nothing(quiet: HttpDesk, careful: Path) -> None:
    typed = rollout(quiet, "plan", "digits:1", "--soak-s", "30", "--min-inferences", "0", "--waves", "1,100%",
                    "--max-crash-share", "off")  # fmt: skip
    read = rollout(quiet, "plan", "--file", careful)
    assert (typed.status, read.status) == (0, 0)
    assert typed.out == read.out
    assert "wave 2 of 2: 3 devices, not before 30 s from now\n" in read.out
    assert "crashed" not in read.out
    assert begun(quiet) == []


def test_a_plan_for_a_program_names_every_device_with_its_variant_or_the_reason(desk: HttpDesk) -> None:
    desk.client.put("/devices/pi-4/pins/main", content=b'{"reason": "on show"}').raise_for_status()
    found = rollout(desk, "plan", "digits@stable", "--target", "all", "--waves", "1,100%", "--json").json
    assert found["plan"]["version"] == 1
    assert [(wave["wave"], len(wave["devices"]), wave["not_before"]) for wave in found["waves"]] == [
        (1, 1, ""), (2, 2, "60 s from now")
    ]  # fmt: skip
    told = [entry for wave in found["waves"] for entry in wave["devices"]]
    assert {entry["device"] for entry in told} == {"pi-1", "pi-2", "pi-3"}
    assert {(entry["variant"], entry["reason"], entry["online"]) for entry in told} == {("int8", "", True)}
    assert found["apart"] == {"pi-4": "pinned by operator: on show"}
    assert found["waits_for"] is None
    assert found["text"].startswith("digits:1 to slot main of all: 3 devices\n")


def test_a_device_that_has_not_spoken_yet_is_planned_for_without_a_variant(desk: HttpDesk) -> None:
    with desk.db.write() as session:
        session.connection().exec_driver_sql("UPDATE devices SET birth = NULL WHERE id = 'pi-3'")
    found = rollout(desk, "plan", "digits", "--target", "pi-3", "--waves", "100%", "--json").json
    (entry,) = found["waves"][0]["devices"]
    assert (entry["variant"], entry["reason"]) == (None, "has not said what it can run")


def test_the_plan_that_is_printed_to_begin_with_is_one(quiet: HttpDesk, tmp_path: Path) -> None:
    printed = rollout(quiet, "plan", "--init")
    path = tmp_path / "plan.toml"
    path.write_text(printed.out)
    assert rollout(quiet, "plan", "--file", path).out == rollout(quiet, "plan", "digits").out


def test_of_a_large_wave_the_first_are_named_unless_all_are_wanted(desk: HttpDesk) -> None:
    more_boards(desk, 20)
    short, long = (rollout(desk, "plan", "digits", "--waves", "100%", *more).out for more in ((), ("--all",)))
    assert "  and 14 more\n" in short
    assert sum(line.startswith("  pi-") for line in short.splitlines()) == 10
    assert sum(line.startswith("  pi-") for line in long.splitlines()) == 24


def test_a_rollout_begins_as_the_file_says_and_options_that_are_typed_override_it(
    desk: HttpDesk, careful: Path
) -> None:
    started = rollout(desk, "start", "--plan", careful, "--soak-s", "5", "--retries", "download=2,silent=1",
                      "--target", "pi-2,pi-1", "--json").json  # fmt: skip
    expected = plan_of(read_plan(CAREFUL, "careful.toml"), "careful.toml")
    plan = started["plan"]
    assert (plan["soak_s"], plan["retries"]) == (5, {"download": 2, "silent": 1})
    assert plan["target"]["devices"] == ["pi-2", "pi-1"]
    assert (plan["min_inferences"], plan["max_crash_share"], plan["version"]) == (0, expected.max_crash_share, 1)


@pytest.mark.parametrize(
    ("written", "typed", "meant"),
    [
        ("", "digits", 2),
        ("version = 1", "digits", 2),
        ("version = 2", "digits@stable", 1),
        ('version = "stable"', "digits:2", 2),
        ('version = "stable"', None, 1),
        ('alias = "stable"', None, 1),
    ],
)
def test_the_version_that_is_typed_overrides_that_of_the_file_whichever_way_it_is_named(
    quiet: HttpDesk, tmp_path: Path, written: str, typed: str | None, meant: int
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'model = "{"other" if typed else "digits"}"\n{written}\n')
    arguments = ["plan", *([typed] if typed else []), "--file", path, "--json"]
    assert rollout(quiet, *arguments).json["plan"]["version"] == meant


def test_a_kept_plan_is_begun_again_from_json(desk: HttpDesk, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    kept = rollout(desk, "start", "digits@stable", "--max-p95-ratio", "1.5", "--paused", "--json")
    path.write_text(json.dumps(kept.json["plan"]))
    rollout(desk, "abort", "1", "--yes")
    assert rollout(desk, "start", "--plan", path, "--paused", "--json").json["plan"] == kept.json["plan"]


def test_a_rollout_that_waits_says_for_what(desk: HttpDesk) -> None:
    rollout(desk, "start", "digits:1")
    refused = rollout(desk, "start", "digits:2")
    assert refused.status == 2
    assert "rollout 1 of digits:1 is running" in refused.err
    queued = rollout(desk, "start", "digits:2", "--on-overlap", "queue")
    assert queued.out.startswith("rollout 2 digits:2 is queued; it waits: rollout 1 of digits:1 is running on")
    listed = rollout(desk, "list").out
    assert "queued" in listed
    assert "waits: rollout 1" in listed
    assert rollout(desk, "plan", "digits:2", "--on-overlap", "queue", "--json").json["waits_for"] == 1


def more_boards(desk: HttpDesk, count: int) -> None:
    depot = Depot.of(desk.db, 1000.0)
    for number in range(count):
        depot.device(f"pi-x{number}")


@pytest.mark.parametrize("waves", ["100%", "11", "5000"])
def test_the_whole_fleet_at_once_is_asked_about(desk: HttpDesk, waves: str) -> None:
    more_boards(desk, 7)
    asked = rollout(desk, "start", "digits", "--waves", waves)
    assert (asked.status, begun(desk)) == (2, [])
    assert "nobody is there to confirm" in asked.err
    assert rollout(desk, "start", "digits", "--waves", waves, "--yes").status == 0


@pytest.mark.parametrize(
    ("arguments", "boards"),
    [
        (("--waves", "100%"), 10),
        (("--waves", "1,100%"), 11),
        (("--waves", "100%", "--target", "cpu_count>=1"), 11),
    ],
)
def test_few_devices_or_a_canary_or_a_target_that_was_chosen_are_not(
    desk: HttpDesk, arguments: tuple[str, ...], boards: int
) -> None:
    more_boards(desk, boards - len(FLEET))
    assert rollout(desk, "start", "digits", *arguments).status == 0
    assert begun(desk) == [1]


def test_every_field_of_a_plan_has_an_option_that_is_told_with_its_default(quiet: HttpDesk) -> None:
    assert {*HELP, *ONLY_IN_FILES, *ELSEWHERE} == set(RolloutPlan.__struct_fields__)
    for command in ("start", "plan"):
        told = rollout(quiet, command, "--help").out
        assert [name for name in HELP if f"--{name.replace('_', '-')}" not in told] == []


VALUES = {
    "slot": ("attic", "attic"), "target": ("site=hall", None), "waves": ("2,100%", None), "retries": ("switch=3", None),
    "on_breach": ("revert-wave", "revert-wave"), "late_joiners": ("join", "join"), "on_overlap": ("queue", "queue"),
    "max_failure_share": ("0.5", 0.5), "max_error_share": ("0.5", 0.5), "max_crash_share": ("off", None),
    "min_agreement": ("0.5", 0.5), "min_accuracy": ("0.5", 0.5), "max_accuracy_drop": ("0.5", 0.5),
    "max_lost_share": ("0.5", 0.5),
    "confidence": ("0.9", 0.9),
}  # fmt: skip


@pytest.mark.parametrize("name", HELP)
def test_each_option_sets_its_field_and_no_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen at the seam between the typed plan and the controller, for which most of these would be unwise."""
    asked: list[AskedPlan] = []
    monkeypatch.setattr("wherry.controller.cli.plan.tell", lambda _api, plan, **_: asked.append(plan))
    typed, value = VALUES.get(name, ("7", 7))
    assert wherry("rollout", "plan", "digits:1", f"--{name.replace('_', '-')}", typed) == (0, "", "")
    (plan,) = asked
    changed = {field for field in AskedPlan.__struct_fields__
               if getattr(plan, field) != getattr(AskedPlan(model="digits", version=1), field)}  # fmt: skip
    assert changed == {name}
    if name not in ("target", "waves", "retries"):
        assert getattr(plan, name) == value


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("start",), "no version is named; name one, or a plan with --plan; see `wherry rollout start --help`"),
        (("plan",), "see `wherry rollout plan --help`"),
        (("plan", "digits", "--retries", "downlod=2"), "not retries: 'downlod=2'; write download=2"),
        (("plan", "digits", "--retries", "download=-1"), "not retries"),
        (("plan", "digits", "--soak-s", "inf"), "soak_s is inf"),
        (("plan", "digits", "--max-p95-ratio", "big"), "see `wherry rollout plan --help`"),
        (("plan", "digits", "--max-p95-ratio", "0"), "a value is out of range"),
        (("plan", "digits", "--max-p95-ratio", "nan"), "max_p95_ratio is nan"),
        (("plan", "digits", "--on-breach", "explode"), "see `wherry rollout plan --help`"),
        (("plan", "digits:0"), "not a version: 'digits:0'"),
        (("plan", "digits@nowhere"), "nowhere"),
        (("plan", "--file", "missing.toml"), "cannot read missing.toml: No such file or directory"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_sends_nothing(
    quiet: HttpDesk, arguments: tuple[str, ...], told: str
) -> None:
    said = rollout(quiet, *arguments)
    assert (said.status, said.out, said.err.count("\n")) == (2, "", 1)
    assert told in said.err
    assert begun(quiet) == []


def test_a_mistake_in_a_file_names_the_file_and_the_key(quiet: HttpDesk, careful: Path) -> None:
    for text, told in (("soak = 5", "no such key: soak; did you mean soak_s?"), ("confidence = 7", "confidence")):
        careful.write_text(CAREFUL + text)
        said = rollout(quiet, "start", "--plan", careful)
        assert (said.status, begun(quiet)) == (2, [])
        assert f"{careful}: {told}" in said.err
    careful.write_bytes(b"\xff\xfe")
    assert "it is not text in UTF-8" in rollout(quiet, "start", "--plan", careful).err


def test_start_still_explains_what_it_would_do(quiet: HttpDesk) -> None:
    assert rollout(quiet, "start", "digits", "--explain").out == rollout(quiet, "plan", "digits").out
    assert begun(quiet) == []
