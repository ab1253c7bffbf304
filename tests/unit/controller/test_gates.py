"""Each gate at its limits, as rows: plan, members, verdict, and what the operator reads."""

from typing import Any

import pytest

from tests.support.controller_values import make_plan
from wherry.controller.core.gates import GATES, WaveEvidence
from wherry.controller.core.members import Evidence, Member
from wherry.protocol.latency import LatencySketch, LatencyWindow


def sketch(value_ms: float, count: int = 100) -> LatencySketch:
    window = LatencyWindow()
    for _ in range(count):
        window.add(value_ms)
    return window.sketch()


def member(standing: str, *, wave: int = 1, since_s: float = 0.0, reason: str = "", **evidence: Any) -> Member:
    return Member(
        device=f"pi-{wave}-{standing}", wave=wave, standing=standing, standing_s=since_s, reason=reason,
        evidence=Evidence(**evidence),
    )  # type: ignore[arg-type]  # fmt: skip


OK, SILENT, GONE = member("committed"), member("silent"), member("removed")
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
    ("errors", {}, [member("committed", inferences=98, errors=2)], "ok", "2 errors in 100 requests (2.0%)"),
    ("errors", {}, [member("committed", inferences=97, errors=3)], "breach", "(3.0%), limit 2.0%"),
    ("latency", {}, [member("committed", **SLOW)], "ok", "no limit set"),
    ("latency", {"max_p95_ratio": 2.0}, [member("committed", **SLOW)], "breach", "limit 2 times"),
    ("latency", {"max_p95_ratio": 3.5}, [member("committed", **SLOW)], "ok", "times), limit 3.5"),
    ("latency", {"max_p95_ratio": 2.0, "p95_floor_ms": 50}, [member("committed", **SLOW)], "ok", "against"),
    ("latency", {"max_p95_ratio": 2.0, "min_samples": 101}, [member("committed", **SLOW)], "ok", "nothing to compare"),
    ("latency", {"max_p95_ratio": 2.0}, [member("committed", latency=sketch(30.0))], "ok", "nothing to compare"),
    ("soak", {"soak_s": 60.0}, [member("committed", since_s=41.0)], "wait", "59 s of 60 s"),
    ("soak", {"soak_s": 60.0}, [member("committed", since_s=40.0)], "ok", "60 s of 60 s"),
    ("soak", {"soak_s": 60.0}, [member("committed"), member("sent")], "wait", "begins when"),
]


@pytest.mark.parametrize(("gate", "limits", "members", "verdict", "words"), ROWS)
def test_gate(gate: str, limits: dict[str, Any], members: list[Member], verdict: str, words: str) -> None:
    evidence = WaveEvidence(plan=make_plan(**limits), wave=1, members=tuple(members), now_s=100.0)
    answer, reason = dict(GATES)[gate](evidence)
    assert answer == verdict
    assert words in reason


def test_every_gate_has_a_row_here() -> None:
    assert {row[0] for row in ROWS} == set(dict(GATES))


def test_a_wave_that_nobody_can_run_leans_on_earlier_commits() -> None:
    members = (member("committed"), member("incompatible", wave=2))
    evidence = WaveEvidence(plan=make_plan(min_inferences=9, soak_s=9.0), wave=2, members=members, now_s=100.0)
    assert [gate(evidence)[0] for _, gate in GATES] == ["ok"] * len(GATES)


def test_good_early_waves_do_not_hide_a_bad_one() -> None:
    members = (member("committed", inferences=9000), member("committed", wave=2, inferences=50, errors=50))
    evidence = WaveEvidence(plan=make_plan(), wave=2, members=members, now_s=100.0)
    assert dict(GATES)["errors"](evidence)[0] == "breach"
