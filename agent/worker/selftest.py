"""The self-test: every golden vector through the loaded model, its cost, and how far it agrees with the incumbent."""

import os
from time import perf_counter

from wherry.agent.worker.agreement import Compared, compare
from wherry.agent.worker.errors import OrderRefused
from wherry.agent.worker.golden import Case, Difference, cases, difference, judge
from wherry.agent.worker.messages import SelfTest, SelfTested
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol import limits
from wherry.protocol.errors import MessageError
from wherry.protocol.golden import GoldenSet, decode_golden
from wherry.protocol.latency import LatencyWindow
from wherry.protocol.types import clip_reason

ENOUGH_RUNS = 100
"""So many runs make a p95 that means something; the vectors are repeated until then …"""

ENOUGH_S = 1.0
"""… but no longer than this, for the sake of slow models. Every vector runs once in any case."""


def self_test(
    order: SelfTest, model: Model, file: int, labels: tuple[str, ...] = (), samples: int | None = None
) -> SelfTested:
    """Compare with the vectors in the open `file`, and measure. Raises OrderRefused where they are not this model's.

    With a file of `samples`, one that passes is then compared with the incumbent; the classes have the names `labels`.
    """
    if order.tolerance.family != model.family:
        raise OrderRefused(f"the tolerance is for {order.tolerance.family}, the model runs on {model.family}")
    tests = cases(_read(file), model.family, model.inputs, model.outputs)
    latency = LatencyWindow()
    verdict = judge(_run_all(model, tests, latency), order.tolerance)
    p50_ms, p95_ms = latency.quantile_ms(0.5) or 0.0, latency.quantile_ms(0.95) or 0.0
    reason = f"{verdict.reason}; p50 {p50_ms:.3g} ms, p95 {p95_ms:.3g} ms"
    found = compare(model, labels, samples) if verdict.ok and samples is not None else Compared()
    told = "; ".join(part for part in (reason, found.remark) if part)
    return SelfTested(ok=verdict.ok, reason=clip_reason(told), compared=found.compared, agreed=found.agreed)


def _run_all(model: Model, found: list[Case], latency: LatencyWindow) -> list[Difference]:
    """The differences of the first round. Repeated rounds only add to `latency`, which is warm by then."""
    start = perf_counter()
    differences = []
    for case in found:
        outputs, latency_ms = _run(model, case)
        latency.add(latency_ms)
        differences.append(difference(model.outputs, case.expected, outputs))
    while latency.count < ENOUGH_RUNS and perf_counter() - start < ENOUGH_S:
        latency.add(_run(model, found[latency.count % len(found)])[1])
    return differences


def _run(model: Model, case: Case) -> tuple[list[Tensor], float]:
    try:
        return model.run(case.inputs)
    except Exception as error:
        raise OrderRefused(f"a golden vector failed to run: {type(error).__name__}: {error}") from error


def _read(file: int) -> GoldenSet:
    try:
        with os.fdopen(os.dup(file), "rb") as opened:
            return decode_golden(opened.read(limits.MAX_GOLDEN_BYTES + 1))
    except (OSError, MessageError) as error:
        raise OrderRefused(f"cannot read the golden vectors: {error}") from error
