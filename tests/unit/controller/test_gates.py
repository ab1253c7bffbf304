"""Each gate at its limits, as rows: plan, members, verdict, and what the operator reads."""

from typing import Any

import msgspec
import pytest

from tests.support.controller_values import make_birth, make_plan
from tests.support.rollout_world import NEW, OLD
from wherry.controller.core.behaviour import Behaviour, merged_latency
from wherry.controller.core.gates import GATES, GateResult, WaveEvidence, judge, verdict_of
from wherry.controller.core.gates.rules import RULES
from wherry.controller.core.members import Member, Override, Rollout, Sent
from wherry.controller.core.plan import RolloutPlan, Window
from wherry.protocol.latency import LatencySketch, LatencyWindow
from wherry.protocol.up import Birth
from wherry.protocol.up.reported import Agreement, SlotReport


def sketch(value_ms: float, count: int = 100) -> LatencySketch:
    window = LatencyWindow()
    for _ in range(count):
        window.add(value_ms)
    return window.sketch()


def member(
    standing: str,
    *,
    wave: int = 1,
    since_s: float = 0.0,
    reason: str = "",
    before: LatencySketch | None = None,
    **seen: Any,
) -> Member:
    return Member(
        device=f"pi-{wave}-{standing}", wave=wave, standing=standing, standing_s=since_s, reason=reason,
        behaviour=Behaviour(**seen), before=Behaviour(latency=before or LatencySketch()),
    )  # type: ignore[arg-type]  # fmt: skip


def mixed(*parts: tuple[float, int]) -> LatencySketch:
    return merged_latency(sketch(value_ms, count) for value_ms, count in parts)


def of_class(birth: Birth, **seen: Any) -> Member:
    return msgspec.structs.replace(member("committed", **seen), birth=birth)


def open_wave(plan: RolloutPlan, wave: int) -> Rollout:
    return Rollout(plan=plan, variants=(), state="running", wave=wave, wave_count=2, wave_opened_s=0.0)


def given(was: dict[str, Any] | None = None, presence: str = "online", presence_s: float = 0.0, **seen: Any) -> Member:
    """A device that has committed the version, which was sent 40 s before time began."""
    sent = Sent(assignment=NEW, previous=OLD, order=(1, 1), at_s=-40.0)
    changed = msgspec.structs.replace(member("committed", **seen), sent=sent, before=Behaviour(**(was or {})))
    return msgspec.structs.replace(changed, presence=presence, presence_s=presence_s)


def agreeing(agreed: int, compared: int = 100, *, artifact: str = NEW.artifact, since_s: float = 0.0) -> Member:
    """One that told how it answered its predecessor's inputs; it has settled at `since_s`."""
    found = Agreement(artifact=artifact, against=OLD.artifact, compared=compared, agreed=agreed)
    told = SlotReport(slot="main", phase="running", serving=NEW.ref, agreement=found)
    return msgspec.structs.replace(given(), report=told, standing_s=since_s)


def labels(correct: int) -> dict[str, int]:
    return {"labelled": 100, "correct": correct}


TEN = {"predictions": dict.fromkeys(range(10), 50)}
ONE_CLASS = {"predictions": {3: 500}}
SHIFTED = {"predictions": {**dict.fromkeys(range(9), 8), 9: 30}}
OK, SILENT, GONE = member("committed"), member("silent"), member("removed")
UNSENT, ON_IT = member("waiting"), msgspec.structs.replace(given(), standing="in-progress")
SOME = {"min_inferences": 1}
AGREE = {"min_agreement": 0.9, "soak_s": 30.0}
FIRST = msgspec.structs.replace(given(), sent=Sent(assignment=NEW, previous=None, order=(1, 1), at_s=-40.0))
SAME_AGAIN = msgspec.structs.replace(given(), sent=Sent(assignment=NEW, previous=NEW, order=(1, 1), at_s=-40.0))
OTHER = msgspec.structs.replace(OLD, model="letters")
OTHER_MODEL = msgspec.structs.replace(given(), sent=Sent(assignment=NEW, previous=OTHER, order=(1, 1), at_s=-40.0))
FEW = {"latency": sketch(30.0, 49), "before": sketch(10.0)}
SLOW = {"latency": sketch(30.0), "before": sketch(10.0)}
NONE = {"latency": LatencySketch(), "before": sketch(10.0)}
BARE = {"latency": sketch(30.0, 60), "before": mixed((10.0, 58), (30.0, 2))}
AFTER_50_S = Window(begin="00:01", end="00:02")  # time begins at 1970, so that is a minute later
LITTLE = {"predictions": dict.fromkeys(range(10), 1)}
SPARSE = member("committed", latency=sketch(30.0, 10), before=sketch(10.0, 10))
SPARSE_SLOW = member("committed", latency=sketch(30.0, 5000), before=sketch(10.0, 10))
YET_SILENT = member("committed", before=sketch(10.0, 5000))
LOST = given(presence="lost", presence_s=-30.0)
PI, PC = make_birth(), make_birth(machine="x86_64", cpu_count=8)
FAST_PC = of_class(PC, latency=sketch(10.0, 9000), before=sketch(10.0, 9000))
SLOW_PI, SLOW_NEW_PI = of_class(PI, **SLOW), of_class(PI, latency=sketch(30.0))
SLOW_NEW_PC = of_class(PC, latency=sketch(30.0, 9000))

ROWS: list[tuple[str, dict[str, Any], list[Member], str, str]] = [
    ("failures", {}, [OK], "ok", "0 of 1 devices failed, 0 allowed"),
    ("failures", {}, [OK, member("reverted", reason="p95 9 ms")], "breach", "pi-1-reverted reverted (p95 9 ms)"),
    ("failures", {"max_failures": 1}, [OK, SILENT], "ok", "1 of 2 devices failed, 1 allowed"),
    ("failures", {"max_failures": 1}, [SILENT, SILENT], "breach", "pi-1-silent silent and 1 more"),
    ("failures", {"max_failure_share": 0.5}, [OK, SILENT], "ok", "1 of 2 devices failed, 1 allowed"),
    ("failures", {"max_failure_share": 0.4}, [OK, SILENT], "breach", "1 of 2 devices failed, 0 allowed"),
    ("failures", {}, [member("incompatible"), GONE], "ok", "0 of 0"),
    ("failures", {"max_failure_share": 0.1}, [SILENT, *[UNSENT] * 99], "breach", "1 of 1 devices failed, 0 allowed"),
    ("failures", {"max_failure_share": 0.1}, [SILENT, *[ON_IT] * 9, UNSENT], "ok", "1 of 10 devices failed, 1 allowed"),
    ("settled", {}, [OK, member("in-progress", reason="download")], "wait", "pi-1-in-progress in-progress (download)"),
    ("settled", {}, [OK, GONE], "ok", "1 of 1 devices of the wave have settled"),
    ("devices", {}, [OK], "ok", "1 of 1 needed devices committed"),
    ("devices", {"min_devices": 5}, [OK, OK], "ok", "2 of 2 needed devices committed"),
    ("devices", {"min_devices": 2}, [OK, member("sent"), SILENT], "wait", "1 of 2 needed"),
    ("devices", {"min_devices": 2}, [OK, SILENT], "breach", "1 of 2 needed devices committed, and only 1 still can"),
    ("devices", {}, [member("incompatible")], "breach", "no evidence"),
    ("inferences", {"min_inferences": 10}, [member("committed", inferences=9)], "wait", "9 of 10"),
    ("inferences", {"min_inferences": 10}, [member("committed", inferences=10)], "ok", "10 of 10"),
    ("errors", {}, [OK], "ok", "no requests seen yet"),
    ("errors", {}, [member("committed", inferences=40)], "ok", "0 errors in 40 requests"),
    ("errors", {}, [member("committed", inferences=40, errors=9)], "wait", "too few to be a breach"),
    ("errors", {}, [member("committed", inferences=98, errors=2)], "ok", "2 errors in 100 requests (2.0%,"),
    ("errors", {}, [member("committed", inferences=97, errors=3)], "wait", "(3.0%, 1.0% to 8.5%), limit 2.0%"),
    ("errors", {}, [member("committed", inferences=93, errors=7)], "breach", "(7.0%, 3.4% to 13.7%), limit 2.0%"),
    ("latency", {}, [member("committed", **SLOW)], "ok", "no limit set"),
    ("latency", {"max_p95_ratio": 2.0}, [member("committed", **SLOW)], "breach", "limit 2 times"),
    ("latency", {"max_p95_ratio": 3.5}, [member("committed", **SLOW)], "ok", "limit 3.5 times"),
    ("latency", {"max_p95_ratio": 2.0, "p95_floor_ms": 50}, [member("committed", **SLOW)], "ok", "against"),
    ("latency", {"max_p95_ratio": 2.0, "min_samples": 101}, [member("committed", **SLOW)], "ok", "nothing to compare"),
    ("latency", {"max_p95_ratio": 2.0}, [member("committed", latency=sketch(30.0))], "ok", "nothing to compare"),
    ("latency", {"max_p95_ratio": 2.0, **SOME}, [member("committed", **FEW)], "wait", "49 of 50 needed latencies"),
    ("latency", {"max_p95_ratio": 2.0, "min_inferences": 0}, [member("committed", **FEW)], "wait", "49 of 50"),
    ("latency", {"max_p95_ratio": 2.0}, [member("committed", **NONE)], "ok", "the plan asks for no inferences"),
    ("latency", {"max_p95_ratio": 2.0, **SOME}, [member("committed", **NONE)], "wait", "0 of 50 needed latencies"),
    ("latency", {"max_p95_ratio": 2.0}, [member("committed", **BARE)], "wait", "(3.00 times, 0.00 or more)"),
    ("latency", {"max_p95_ratio": 2.0}, [FAST_PC, SLOW_PI], "breach", "3.00 times, 3.00 to 3.00) on aarch64, 4 CPUs"),
    ("latency", {"max_p95_ratio": 2.0}, [FAST_PC, SLOW_NEW_PC], "breach", "on x86_64, 8 CPUs"),
    ("latency", {"max_p95_ratio": 2.0}, [FAST_PC, SLOW_NEW_PI], "ok", "nothing to compare with on aarch64"),
    ("latency", {"max_p95_ratio": 2.0}, [SPARSE_SLOW, YET_SILENT], "breach", "(3.00 times, 3.00 to 3.00)"),
    ("latency", {"max_p95_ratio": 2.0}, [SPARSE_SLOW], "ok", "nothing to compare"),
    ("latency", {"max_p95_ratio": 2.0, **SOME}, [SPARSE, YET_SILENT], "wait", "10 of 50 needed latencies"),
    ("latency", {"max_p95_ratio": 2.0}, [], "ok", "nothing to compare with"),
    ("crashes", {}, [OK], "ok", "sent to nobody"),
    ("crashes", {"max_crash_share": None}, [given(crashes=3)], "ok", "no limit set"),
    ("crashes", {}, [given(crashes=1)], "breach", "1 of 1 devices had a worker that crashed, 1 times (100.0%, 20.7%"),
    ("crashes", {}, [*[given(crashes=1)] * 2, *[given()] * 8], "breach", "2 of 10 devices"),
    ("crashes", {"soak_s": 200}, [*[given(crashes=1)] * 2, *[given()] * 8], "wait", "(20.0%, 5.7% to 51.0%)"),
    ("crashes", {"max_crash_share": 0.5}, [given(crashes=2), given()], "ok", "limit 50.0%"),
    ("memory", {"max_memory_ratio": 1.5}, [given(memory_bytes=160, was={"memory_bytes": 100})], "breach", "1.60 times"),
    ("memory", {"max_memory_ratio": 1.7}, [given(memory_bytes=160, was={"memory_bytes": 100})], "ok", "1.60 times"),
    ("memory", {"max_memory_ratio": 1.5}, [given(memory_bytes=160)], "ok", "nothing to compare"),
    ("memory", {"max_memory_ratio": 1.5, **SOME}, [given(was={"memory_bytes": 9})], "wait", "no worker has told"),
    ("memory", {"max_memory_ratio": 1.5}, [given(was={"memory_bytes": 9})], "ok", "no worker has told"),
    ("memory", {}, [given(memory_bytes=160, was={"memory_bytes": 100})], "ok", "no limit set"),
    (
        "drift",
        {"max_prediction_psi": 0.2},
        [given(**ONE_CLASS, was=TEN)],
        "breach",
        "answers differ from those",
    ),
    ("drift", {"max_prediction_psi": 0.2}, [given(**TEN, was=TEN)], "ok", "limit 0.2"),
    (
        "drift",
        {"max_prediction_psi": 0.2, **SOME},
        [given(was=TEN, predictions={1: 9})],
        "wait",
        "9 of 50 needed answers",
    ),
    ("drift", {"max_prediction_psi": 0.2}, [given(**TEN)], "ok", "nothing to compare"),
    ("drift", {"max_prediction_psi": 0.2, **SOME}, [given(was=TEN)], "wait", "0 of 50 needed answers"),
    ("drift", {"max_prediction_psi": 0.2}, [given(**ONE_CLASS, was=LITTLE), given(was=TEN)], "breach", "answers"),
    ("drift", {"max_prediction_psi": 0.2}, [given(**ONE_CLASS, was=LITTLE)], "ok", "nothing to compare"),
    ("drift", {"max_prediction_psi": 0.2}, [given(**LITTLE, was=LITTLE), given(was=TEN)], "wait", "10 of 50 needed"),
    ("drift", {"max_prediction_psi": 0.2}, [given(was=TEN)], "ok", "the plan asks for no inferences"),
    ("drift", {"max_prediction_psi": 0.2}, [given(was=TEN, **SHIFTED)], "wait", "(chance: up to"),
    ("agreement", {}, [agreeing(1)], "ok", "no limit set"),
    ("agreement", AGREE, [agreeing(80, since_s=100.0)], "breach", "80 of 100 inputs were answered as by the version"),
    ("agreement", AGREE, [agreeing(88, since_s=100.0)], "wait", "(88.0%, 80.2% to 93.0%), on 1 of 1 devices"),
    ("agreement", AGREE, [agreeing(88)], "breach", "at least 90.0% wanted"),
    ("agreement", AGREE, [agreeing(90)], "ok", "90 of 100"),
    ("agreement", AGREE, [agreeing(45, 45), agreeing(40, 50), given()], "breach", "85 of 95"),
    ("agreement", {**AGREE, **SOME}, [agreeing(45, 45), given()], "wait", "45 of 50 needed inputs compared with"),
    ("agreement", AGREE, [agreeing(100, artifact=OLD.artifact)], "ok", "the plan asks for no inferences"),
    ("agreement", {**AGREE, **SOME}, [agreeing(100, artifact=OLD.artifact)], "wait", "0 of 50 needed inputs compared"),
    ("agreement", AGREE, [agreeing(0, 49)], "ok", "the plan asks for no inferences"),
    ("agreement", {**AGREE, **SOME}, [agreeing(0, 49)], "wait", "on 1 of 1 devices; no more come"),
    ("agreement", {**AGREE, **SOME}, [FIRST], "ok", "nothing to compare with"),
    ("agreement", {**AGREE, **SOME}, [SAME_AGAIN], "ok", "nothing to compare with"),
    ("agreement", {**AGREE, **SOME}, [OTHER_MODEL], "ok", "nothing to compare with"),
    ("agreement", {**AGREE, **SOME}, [OK], "ok", "nothing to compare with"),
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=100, correct=80)], "breach", "80 of 100 labelled inferences"),
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=100, correct=88)], "wait", "at least 90.0% wanted"),
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=100, correct=90)], "ok", "at least 90.0% wanted"),
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=49, correct=1)], "wait", "49 of 50 needed labels"),
    ("accuracy", {"min_accuracy": 0.9}, [OK], "ok", "the plan asks for no inferences"),
    ("accuracy", {"min_accuracy": 0.9, **SOME}, [OK], "wait", "0 of 50 needed labels"),
    ("accuracy", {"max_accuracy_drop": 0.05}, [given(**labels(80))], "ok", "nothing to compare"),
    ("accuracy", {"max_accuracy_drop": 0.05}, [given(**labels(80), was=labels(95))], "breach", "fell by 15.0%"),
    ("accuracy", {"max_accuracy_drop": 0.05}, [given(**labels(88), was=labels(95))], "wait", "fell by 7.0%"),
    ("accuracy", {"max_accuracy_drop": 0.05}, [given(**labels(91), was=labels(95))], "ok", "fell by 4.0%"),
    ("connection", {}, [OK], "ok", "committed by nobody"),
    ("connection", {}, [given(presence="lost", presence_s=-30.0)], "breach", "1 of 1 devices lost their connection"),
    ("connection", {}, [given(presence="lost", presence_s=-10.0)], "wait", "1 more less than 120 s ago"),
    ("connection", {}, [LOST, *[given()] * 9], "ok", "1 of 10 devices"),
    ("connection", {"soak_s": 200}, [LOST, LOST, *[given()] * 5], "wait", "2 of 7 devices"),
    ("connection", {}, [LOST, LOST, *[given()] * 5], "breach", "2 of 7 devices"),
    ("connection", {}, [given(presence="lost", presence_s=-60.0)], "ok", "0 of 1"),
    ("connection", {}, [given(presence="offline", presence_s=-30.0)], "ok", "0 of 1"),
    ("connection", {"max_lost_share": None}, [given(presence="lost", presence_s=-30.0)], "ok", "no limit set"),
    ("deadline", {}, [OK], "ok", "86300 s of 86400 s left for wave 1"),
    ("deadline", {"wave_deadline_s": None}, [OK], "ok", "no limit set"),
    ("deadline", {"wave_deadline_s": 60.0, "windows": (AFTER_50_S,)}, [OK], "ok", "20 s of 60 s left for wave 1"),
    ("deadline", {"wave_deadline_s": 101.0, "deadline_s": 200.0}, [OK], "ok", "1 s of 101 s left for wave 1"),
    ("deadline", {"wave_deadline_s": 100.0}, [OK], "breach", "wave 1 was not through after 100 s"),
    ("deadline", {"deadline_s": 99.0}, [OK], "breach", "the rollout was not through after 99 s"),
    ("soak", {"soak_s": 60.0}, [member("committed", since_s=41.0)], "wait", "59 s of 60 s"),
    ("soak", {"soak_s": 60.0}, [member("committed", since_s=40.0)], "ok", "60 s of 60 s"),
    ("soak", {"soak_s": 60.0}, [member("committed"), member("sent")], "wait", "begins when"),
]


def said(gate: str, evidence: WaveEvidence) -> GateResult:
    (found,) = (answer for answer in judge(evidence) if answer.gate == gate)
    return found


@pytest.mark.parametrize(("gate", "limits", "members", "verdict", "words"), ROWS)
def test_gate(gate: str, limits: dict[str, Any], members: list[Member], verdict: str, words: str) -> None:
    evidence = WaveEvidence(rollout=open_wave(make_plan(**limits), 1), members=tuple(members), now_s=100.0)
    answer = said(gate, evidence)
    assert answer.verdict == verdict
    assert words in answer.reason


@pytest.mark.parametrize(("gate", "limits", "members", "verdict", "words"), ROWS)
def test_a_stored_verdict_follows_from_the_numbers_stored_with_it(
    gate: str, limits: dict[str, Any], members: list[Member], verdict: str, words: str
) -> None:
    """Through JSON and back, as it is kept, and without the members: the numbers are all of the evidence."""
    evidence = WaveEvidence(rollout=open_wave(make_plan(**limits), 1), members=tuple(members), now_s=100.0)
    stored = msgspec.json.decode(msgspec.json.encode(judge(evidence)), type=tuple[GateResult, ...])
    assert [verdict_of(entry.gate, entry.evidence) for entry in stored] == [entry.verdict for entry in stored]


def test_numbers_that_were_changed_give_another_verdict() -> None:
    """The negative control: verdicts are not merely read back."""
    members = (member("committed", inferences=93, errors=7),)
    evidence = WaveEvidence(rollout=open_wave(make_plan(), 1), members=members, now_s=100.0)
    stored = said("errors", evidence)
    assert stored.verdict == "breach"
    assert verdict_of("errors", {**stored.evidence, "limit": 0.5}) == "ok"


@pytest.mark.parametrize(("gate", "limits", "members", "verdict", "words"), ROWS)
def test_a_gate_that_is_overruled_is_ok_and_says_what_it_would_have_said(
    gate: str, limits: dict[str, Any], members: list[Member], verdict: str, words: str
) -> None:
    rollout = msgspec.structs.replace(
        open_wave(make_plan(**limits), 1),
        overrides=(Override(gate=gate, reason="a bad sensor", actor="ann", at_s=1.0),),
    )
    answer = said(gate, WaveEvidence(rollout=rollout, members=tuple(members), now_s=100.0))
    assert answer.verdict == "ok"
    assert words in answer.reason
    assert ("overruled by ann: a bad sensor; it said " + verdict in answer.reason) == (verdict != "ok")
    assert answer.evidence.get("overruled", "ok") == verdict


def test_every_gate_has_a_row_here() -> None:
    assert {row[0] for row in ROWS} == set(dict(GATES)) == set(RULES)


def test_a_wave_that_nobody_can_run_leans_on_earlier_commits() -> None:
    members = (member("committed"), member("incompatible", wave=2))
    evidence = WaveEvidence(rollout=open_wave(make_plan(min_inferences=9, soak_s=9.0), 2), members=members, now_s=100.0)
    assert [answer.verdict for answer in judge(evidence)] == ["ok"] * len(GATES)


def test_good_early_waves_do_not_hide_a_bad_one() -> None:
    members = (member("committed", inferences=9000), member("committed", wave=2, inferences=50, errors=50))
    evidence = WaveEvidence(rollout=open_wave(make_plan(), 2), members=members, now_s=100.0)
    assert said("errors", evidence).verdict == "breach"


IN_WAVE_2 = msgspec.structs.replace(given(inferences=9000, memory_bytes=100, was={"memory_bytes": 100}), wave=2)
BAD_CANARIES: list[tuple[str, dict[str, Any], Member]] = [
    ("crashes", {}, given(crashes=20)),
    ("errors", {}, given(inferences=100, errors=1000)),
    ("connection", {}, given(presence="lost", presence_s=-30.0)),
    ("latency", {"max_p95_ratio": 2.0}, member("committed", **SLOW)),
    ("memory", {"max_memory_ratio": 1.5}, given(memory_bytes=160, was={"memory_bytes": 100})),
    ("drift", {"max_prediction_psi": 0.2}, given(**ONE_CLASS, was=TEN)),
    ("agreement", AGREE, agreeing(80)),
    ("accuracy", {"min_accuracy": 0.9}, given(labelled=100, correct=80)),
]


@pytest.mark.parametrize(("gate", "limits", "canary"), BAD_CANARIES)
def test_a_canary_that_goes_bad_after_the_next_wave_was_opened_is_a_breach(
    gate: str, limits: dict[str, Any], canary: Member
) -> None:
    members = (canary, *[IN_WAVE_2] * 99)
    answer = said(gate, WaveEvidence(rollout=open_wave(make_plan(**limits), 2), members=members, now_s=100.0))
    assert (answer.verdict, answer.evidence["wave"]) == ("breach", 1)
    assert answer.reason.startswith("wave 1: ")


@pytest.mark.parametrize(("gate", "limits", "canary"), BAD_CANARIES)
def test_without_the_bad_canary_there_is_no_breach(gate: str, limits: dict[str, Any], canary: Member) -> None:
    """The negative control: of the devices above only the canary is to blame."""
    rollout = open_wave(make_plan(**limits), 2)
    assert said(gate, WaveEvidence(rollout=rollout, members=(IN_WAVE_2,) * 99, now_s=100.0)).verdict == "ok"


def test_a_canary_that_is_not_counted_any_more_speaks_no_more() -> None:
    released = msgspec.structs.replace(given(crashes=20), standing="released")
    evidence = WaveEvidence(rollout=open_wave(make_plan(), 2), members=(released, IN_WAVE_2), now_s=100.0)
    assert said("crashes", evidence).verdict == "ok"


def test_samples_of_an_earlier_wave_are_not_waited_for_again() -> None:
    """An operator promoted it without them."""
    canary = given(labelled=3, correct=3)
    rest = msgspec.structs.replace(given(labelled=100, correct=95), wave=2)
    rollout = open_wave(make_plan(min_accuracy=0.9, min_inferences=1), 2)
    assert said("accuracy", WaveEvidence(rollout=rollout, members=(canary, rest), now_s=100.0)).verdict == "ok"
    assert said("accuracy", WaveEvidence(rollout=rollout, members=(rest,), now_s=100.0)).verdict == "ok"


def test_a_canary_that_has_just_gone_is_waited_for() -> None:
    canary = given(presence="lost", presence_s=-10.0)
    evidence = WaveEvidence(rollout=open_wave(make_plan(), 2), members=(canary, IN_WAVE_2), now_s=100.0)
    assert said("connection", evidence).verdict == "wait"
