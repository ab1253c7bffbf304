"""Who is meant, in which order, in which wave; and the plan as text."""

import pytest

from tests.support.controller_values import LITERT_ONLY, TFLITE, make_birth, make_plan, make_variant
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.explain import describe, explain
from wherry.controller.core.plan import Target
from wherry.controller.core.targeting import cut, matches, parse_target, parse_waves
from wherry.controller.errors import Invalid

ANY = (make_variant("a"),)


def fleet(count: int) -> list[Candidate]:
    return [Candidate(device=f"pi-{number}", online=True, birth=make_birth()) for number in range(count)]


@pytest.mark.parametrize(
    "text", ["all", "pi-1,pi-2", "kind=pi,site=lab", "site=lab and not ram_mb<2000", "@berlin-lab"]
)
def test_a_target_reads_back(text: str) -> None:
    assert describe(parse_target(text)) == text


@pytest.mark.parametrize("text", ["", "PI", "pi-1,site=lab", "=lab", "all,pi-1="])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a target"):
        parse_target(text)


@pytest.mark.parametrize("text", ["", "0", "101%", "half", "1,,100%", "-1"])
def test_what_is_no_wave_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a wave"):
        parse_waves(text)


@pytest.mark.parametrize(
    ("steps", "count", "sizes"),
    [
        ("1,50%,100%", 10, [1, 4, 5]),
        ("1,50%,100%", 1, [1]),
        ("1,50%,100%", 2, [1, 1]),
        ("1,50%,100%", 6, [1, 2, 3]),
        ("10%,33%,100%", 7, [1, 2, 4]),
        ("3,5,100%", 4, [3, 1]),
        ("100%", 200, [200]),
    ],
)
def test_steps_are_cumulative_and_rounded_up(steps: str, count: int, sizes: list[int]) -> None:
    waves = cut(make_plan(waves=parse_waves(steps)), ANY, fleet(count), "7").waves
    assert [len(wave) for wave in waves] == sizes
    assert sorted(device for wave in waves for device in wave) == sorted(entry.device for entry in fleet(count))


def test_waves_that_leave_devices_out_are_refused() -> None:
    with pytest.raises(Invalid, match="end at 3 of 10 devices"):
        cut(make_plan(waves=parse_waves("1,3")), ANY, fleet(10), "7")


def test_labels_must_all_match() -> None:
    target = Target(labels={"site": "lab", "kind": "pi"})
    both = make_birth(labels={"site": "lab", "kind": "pi", "more": "x"})
    assert matches(target, Candidate(device="pi-1", online=False, birth=both))
    assert not matches(target, Candidate(device="pi-1", online=True, birth=make_birth(labels={"site": "lab"})))
    assert not matches(target, Candidate(device="pi-1", online=True, birth=None))


def test_the_order_depends_on_the_rollout_alone() -> None:
    first = cut(make_plan(), ANY, fleet(30), "1")
    assert cut(make_plan(), ANY, list(reversed(fleet(30))), "1") == first
    assert cut(make_plan(), ANY, fleet(30), "2") != first


def test_devices_that_can_speak_go_first_and_the_others_stay_in() -> None:
    asleep = [Candidate(device=f"a-{number}", online=False, birth=make_birth()) for number in range(5)]
    waves = cut(make_plan(), ANY, [*asleep, *fleet(2)], "1").waves
    order = [device for wave in waves for device in wave]
    assert set(order[:2]) == {"pi-0", "pi-1"}
    assert len(order) == 7


def test_named_devices_go_in_the_order_named() -> None:
    plan = make_plan(target=Target(devices=("pi-2", "pi-0", "pi-1")))
    assert cut(plan, ANY, fleet(3), "1").waves == (("pi-2",), ("pi-0",), ("pi-1",))


GOLDEN = """\
digits:3 to slot main of pi-1,pi-2,pi-3,pi-4: 3 devices
wave 1 of 2: 1 device
  pi-1  int8 on litert 2.3.0
wave 2 of 2: 2 devices, not before 60 s from now
  pi-2  int8 on litert 2.3.0, not connected
  pi-4  has not said what it can run
promote when:
  every device of the wave that can run it has settled
  at least 1 committed
  at least 200 inferences were answered
  60 s have passed since
revert when:
  over 0 of the devices failed; 3600 s of silence is failure
  more than 2.0% of 50 or more requests failed
  p95 is over 2 ms and over 1.5 times that before
  the worker crashed on more than 10.0% of the devices
  more than 20.0% lost their connection after the switch for 120 s
  a wave is not through 86400 s after it was opened
not sent to 1 device:
  pi-3  needs litert >= 1.0.0; the device has tflite-runtime 2.14.0
"""


def test_a_plan_reads_as_text() -> None:
    plan = make_plan(
        3, soak_s=60.0, min_inferences=200, device_deadline_s=3600.0, max_p95_ratio=1.5,
        target=Target(devices=("pi-1", "pi-2", "pi-3", "pi-4")), waves=parse_waves("1,100%"),
    )  # fmt: skip
    variants = (make_variant("a", floors=LITERT_ONLY),)
    candidates = [
        Candidate(device="pi-1", online=True, birth=make_birth()),
        Candidate(device="pi-2", online=False, birth=make_birth()),
        Candidate(device="pi-3", online=True, birth=make_birth(TFLITE)),
        Candidate(device="pi-4", online=False, birth=None),
    ]
    assert explain(plan, variants, candidates, cut(plan, variants, candidates, "1")) == GOLDEN
