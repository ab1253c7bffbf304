"""Each gate at its limits, as rows: plan, members, verdict, and what the operator reads."""

from typing import Any

import msgspec
import pytest

from tests.support.controller_values import make_plan
from tests.support.rollout_world import NEW, OLD
from wherry.controller.core.behaviour import Behaviour
from wherry.controller.core.gates import GATES, WaveEvidence
from wherry.controller.core.members import Member, Rollout, Sent
from wherry.controller.core.plan import RolloutPlan
from wherry.protocol.latency import LatencySketch, LatencyWindow


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


def open_wave(plan: RolloutPlan, wave: int) -> Rollout:
    return Rollout(plan=plan, variants=(), state="running", wave=wave, wave_count=2, wave_opened_s=0.0)


def given(was: dict[str, Any] | None = None, presence: str = "online", presence_s: float = 0.0, **seen: Any) -> Member:
    """A device that has committed the version, which was sent 40 s before time began."""
    sent = Sent(assignment=NEW, previous=OLD, order=(1, 1), at_s=-40.0)
    changed = msgspec.structs.replace(member("committed", **seen), sent=sent, before=Behaviour(**(was or {})))
    return msgspec.structs.replace(changed, presence=presence, presence_s=presence_s)


def labels(correct: int) -> dict[str, int]:
    return {"labelled": 100, "correct": correct}


TEN = {"predictions": dict.fromkeys(range(10), 50)}
ONE_CLASS = {"predictions": {3: 500}}
OK, SILENT, GONE = member("committed"), member("silent"), member("removed")
SOME = {"min_inferences": 1}
FEW = {"latency": sketch(30.0, 49), "before": sketch(10.0)}
SLOW = {"latency": sketch(30.0), "before": sketch(10.0)}

ROWS: list[tuple[str, dict[str, Any], list[Member], str, str]] = [
    ("failures", {}, [OK], "ok", "0 of 1 devices failed, 0 allowed"),
    ("failures", {}, [OK, member("reverted", reason="p95 9 ms")], "breach", "pi-1-reverted reverted (p95 9 ms)"),
    ("failures", {"max_failures": 1}, [OK, SILENT], "ok", "1 of 2 devices failed, 1 allowed"),
    ("failures", {"max_failures": 1}, [SILENT, SILENT], "breach", "pi-1-silent silent and 1 more"),
    ("failures", {"max_failure_share": 0.5}, [OK, SILENT], "ok", "1 of 2 devices failed, 1 allowed"),
    ("failures", {"max_failure_share": 0.4}, [OK, SILENT], "breach", "1 of 2 devices failed, 0 allowed"),
    ("failures", {}, [member("incompatible"), GONE], "ok", "0 of 0"),
    ("settled", {}, [OK, member("in-progress", reason="download")], "wait", "pi-1-in-progress in-progress (download)"),
    ("settled", {}, [OK, GONE], "ok", "1 of 1 devices of the wave have settled"),
    ("devices", {}, [OK], "ok", "1 of 1 needed devices committed"),
    ("devices", {"min_devices": 5}, [OK, OK], "ok", "2 of 2 needed devices committed"),
    ("devices", {"min_devices": 2}, [OK, member("sent"), SILENT], "wait", "1 of 2 needed"),
    ("devices", {"min_devices": 2}, [OK, SILENT], "breach", "1 of 2 needed devices committed, and only 1 still can"),
    ("devices", {}, [member("incompatible")], "breach", "no evidence"),
    ("inferences", {"min_inferences": 10}, [member("committed", inferences=9)], "wait", "9 of 10"),
    ("inferences", {"min_inferences": 10}, [member("committed", inferences=10)], "ok", "10 of 10"),
    ("errors", {}, [member("committed", inferences=40, errors=9)], "ok", "too few to judge"),
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
    ("latency", {"max_p95_ratio": 2.0, "min_inferences": 0}, [member("committed", **FEW)], "ok", "49 of 50"),
    ("crashes", {}, [OK], "ok", "sent to nobody"),
    ("crashes", {"max_crash_share": None}, [given(crashes=3)], "ok", "no limit set"),
    ("crashes", {}, [given(crashes=1)], "breach", "1 of 1 devices had a worker that crashed, 1 times (100.0%, 20.7%"),
    ("crashes", {}, [*[given(crashes=1)] * 2, *[given()] * 8], "breach", "2 of 10 devices"),
    ("crashes", {"soak_s": 200}, [*[given(crashes=1)] * 2, *[given()] * 8], "wait", "(20.0%, 5.7% to 51.0%)"),
    ("crashes", {"max_crash_share": 0.5}, [given(crashes=2), given()], "ok", "limit 50.0%"),
    ("memory", {"max_memory_ratio": 1.5}, [given(memory_bytes=160, was={"memory_bytes": 100})], "breach", "1.60 times"),
    ("memory", {"max_memory_ratio": 1.7}, [given(memory_bytes=160, was={"memory_bytes": 100})], "ok", "1.60 times"),
    ("memory", {"max_memory_ratio": 1.5}, [given(memory_bytes=160)], "ok", "nothing to compare"),
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
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=100, correct=80)], "breach", "80 of 100 labelled inferences"),
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=100, correct=88)], "wait", "at least 90.0% wanted"),
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=100, correct=90)], "ok", "at least 90.0% wanted"),
    ("accuracy", {"min_accuracy": 0.9}, [given(labelled=49, correct=1)], "wait", "49 of 50 needed labels"),
    ("accuracy", {"max_accuracy_drop": 0.05}, [given(**labels(80), was=labels(95))], "breach", "fell by 15.0%"),
    ("accuracy", {"max_accuracy_drop": 0.05}, [given(**labels(88), was=labels(95))], "wait", "fell by 7.0%"),
    ("accuracy", {"max_accuracy_drop": 0.05}, [given(**labels(91), was=labels(95))], "ok", "fell by 4.0%"),
    ("connection", {}, [OK], "ok", "committed by nobody"),
    ("connection", {}, [given(presence="lost", presence_s=-30.0)], "breach", "1 of 1 devices lost their connection"),
    ("connection", {}, [given(presence="lost", presence_s=-10.0)], "wait", "less than 120 s ago"),
    ("connection", {}, [given(presence="lost", presence_s=-60.0)], "ok", "0 of 1"),
    ("connection", {}, [given(presence="offline", presence_s=-30.0)], "ok", "0 of 1"),
    ("connection", {"max_lost_share": None}, [given(presence="lost", presence_s=-30.0)], "ok", "no limit set"),
    ("deadline", {}, [OK], "ok", "no limit set"),
    ("deadline", {"wave_deadline_s": 101.0, "deadline_s": 200.0}, [OK], "ok", "1 s of 101 s left for wave 1"),
    ("deadline", {"wave_deadline_s": 100.0}, [OK], "breach", "wave 1 was not through after 100 s"),
    ("deadline", {"deadline_s": 99.0}, [OK], "breach", "the rollout was not through after 99 s"),
    ("soak", {"soak_s": 60.0}, [member("committed", since_s=41.0)], "wait", "59 s of 60 s"),
    ("soak", {"soak_s": 60.0}, [member("committed", since_s=40.0)], "ok", "60 s of 60 s"),
    ("soak", {"soak_s": 60.0}, [member("committed"), member("sent")], "wait", "begins when"),
]


@pytest.mark.parametrize(("gate", "limits", "members", "verdict", "words"), ROWS)
def test_gate(gate: str, limits: dict[str, Any], members: list[Member], verdict: str, words: str) -> None:
    evidence = WaveEvidence(rollout=open_wave(make_plan(**limits), 1), members=tuple(members), now_s=100.0)
    answer = dict(GATES)[gate](evidence)
    assert answer.verdict == verdict
    assert words in answer.reason


def test_every_gate_has_a_row_here() -> None:
    assert {row[0] for row in ROWS} == set(dict(GATES))


def test_a_wave_that_nobody_can_run_leans_on_earlier_commits() -> None:
    members = (member("committed"), member("incompatible", wave=2))
    evidence = WaveEvidence(rollout=open_wave(make_plan(min_inferences=9, soak_s=9.0), 2), members=members, now_s=100.0)
    assert [gate(evidence).verdict for _, gate in GATES] == ["ok"] * len(GATES)


def test_good_early_waves_do_not_hide_a_bad_one() -> None:
    members = (member("committed", inferences=9000), member("committed", wave=2, inferences=50, errors=50))
    evidence = WaveEvidence(rollout=open_wave(make_plan(), 2), members=members, now_s=100.0)
    assert dict(GATES)["errors"](evidence).verdict == "breach"
