"""Plans as people write them: the short forms, and every mistake with its file, its key and its remedy."""

import re
from pathlib import Path

import msgspec
import pytest

from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.core.plan import RolloutPlan, Target, WaveStep, Window
from wherry.controller.core.plan_file import EXAMPLE, plan_of, read_plan
from wherry.controller.errors import Invalid


def plan(text: str, where: str = "plan.toml") -> AskedPlan:
    return plan_of(read_plan(text, where), where)


def test_a_name_alone_is_a_plan_and_so_is_the_example_with_the_defaults() -> None:
    assert plan('model = "digits"') == AskedPlan(model="digits")
    assert plan(EXAMPLE) == AskedPlan(model="digits")


def test_the_example_shows_every_field() -> None:
    shown = EXAMPLE.replace("# ", "").splitlines()
    written = {line.split("=")[0].strip() for line in shown if "=" in line} | {
        line.split("]")[0].strip("[") for line in shown if line.startswith("[")
    }
    assert set(RolloutPlan.__struct_fields__) - written == set()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("version = 3", {"version": 3}),
        ('version = "3"', {"version": 3}),
        ('version = "stable"', {"alias": "stable"}),
        ('target = "all"', {}),
        ('target = "pi-1,pi-2"', {"target": Target(devices=("pi-1", "pi-2"))}),
        ('target = "site=hall and ram_mb>=2000"', {"target": Target(query="site=hall and ram_mb>=2000")}),
        ('target = { labels = { site = "hall" } }', {"target": Target(labels={"site": "hall"})}),
        ('waves = "2,100%"', {"waves": (WaveStep(amount=2), WaveStep(amount=100, percent=True))}),
        ('waves = [2, "100%"]', {"waves": (WaveStep(amount=2), WaveStep(amount=100, percent=True))}),
        ("waves = [{ amount = 2 }]", {"waves": (WaveStep(amount=2),)}),
        ('max_crash_share = "off"', {"max_crash_share": None}),
        ("retries = { download = 2 }", {"retries": {"download": 2}}),
        (
            '[[windows]]\nbegin = "02:00"\nend = "05:00"\ndays = ["mon"]',
            {"windows": (Window(begin="02:00", end="05:00", days=("mon",)),)},
        ),
        ('[windows]\nbegin = "02:00"\nend = "05:00"', {"windows": (Window(begin="02:00", end="05:00"),)}),
    ],
)
def test_short_forms_mean_what_the_long_ones_mean(line: str, expected: dict[str, object]) -> None:
    assert plan(f'model = "digits"\n{line}') == AskedPlan(model="digits", **expected)  # type: ignore[arg-type]


def test_a_plan_that_was_kept_can_be_read_again() -> None:
    kept = RolloutPlan(model="digits", version=3, windows=(Window(begin="22:00", end="04:00"),), retries={"switch": 1})
    assert plan(msgspec.json.encode(kept).decode(), "kept.json") == AskedPlan(
        **{name: getattr(kept, name) for name in RolloutPlan.__struct_fields__}
    )


@pytest.mark.parametrize(
    ("text", "told", "fix"),
    [
        ("model = ", "plan.toml is not TOML", "--init"),
        ("soak_s = 5", "plan.toml: model is missing", 'model = "digits"'),
        ('model = "x"\nsoak = 5', "plan.toml: no such key: soak", "did you mean soak_s?"),
        ('model = "x"\nmax_p95_ration = 2.0', "no such key: max_p95_ration", "did you mean max_p95_ratio?"),
        ('model = "x"\nqqqq = 2.0', "no such key: qqqq", "there are model, version"),
        ('model = "x"\n[target]\nlabel = 1', "no such key: target.label", "did you mean labels?"),
        ('model = "x"\n[[windows]]\nstart = "02:00"', "no such key: windows.start", "there are begin, end"),
        ('model = "x"\nwaves = "1;2"', "plan.toml: waves: not a wave: '1;2'", "1,50%,100%"),
        ('model = "x"\nwaves = []', "plan.toml: waves: there are none", "1,50%,100%"),
        ('model = "x"\nwaves = [1.5]', "plan.toml: waves: not a wave: 1.5", "50%"),
        ('model = "x"\ntarget = "ram_mb>=big"', "plan.toml: target: column 9", ""),
        ('model = "x"\nsoak_s = inf', "plan.toml: soak_s: inf is not a number", "finite"),
        ('model = "x"\nsoak_s = "1 h"', "plan.toml: soak_s: expected `float`, got `str`", "rollout-plans.md"),
        ('model = "x"\nmin_samples = "off"', "plan.toml: min_samples: expected `int`", ""),
        ('model = "x"\non_breach = "explode"', "plan.toml: on_breach: invalid enum value 'explode'", ""),
        ('model = "x"\n[retries]\ndownlod = 2', "no such key: retries.downlod", "did you mean download?"),
    ],
)
def test_a_mistake_is_told_with_its_file_its_key_and_what_to_write(text: str, told: str, fix: str) -> None:
    with pytest.raises(Invalid) as caught:
        plan(text)
    assert told in caught.value.message
    assert fix in caught.value.fix


def test_what_is_not_json_is_told() -> None:
    with pytest.raises(Invalid, match=r"p\.json is not a JSON object"):
        plan("[]", "p.json")


PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "rollout-plans.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", PAGE, re.MULTILINE))


def test_every_field_is_on_the_page_with_its_default_and_so_is_the_example() -> None:
    assert tuple(sorted(ROWS)) == tuple(sorted(RolloutPlan.__struct_fields__))
    assert f"```toml\n{EXAMPLE}```\n" in PAGE
    for field in msgspec.structs.fields(RolloutPlan):
        if isinstance(field.default, int | float | str):
            assert ROWS[field.name] == (
                f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            )
        elif field.default is None:
            assert ROWS[field.name] == "off"


@pytest.mark.parametrize(
    "written", re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", PAGE, re.MULTILINE), ids=lambda row: row[0]
)
def test_what_the_page_writes_can_be_read(written: tuple[str, str]) -> None:
    name, examples = written
    for example in re.findall(r"`([^`]+)`", examples):
        if name not in ("model", "windows"):
            plan(f'model = "digits"\n{name} = {example}')
