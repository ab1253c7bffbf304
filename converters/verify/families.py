"""Which runtime families may have the file, why, and how near to the golden vectors they must be."""

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.report import FamilyResult, Spread
from wherry.converters.verify import budget, floors, golden
from wherry.converters.verify.runtime_child import Ran
from wherry.converters.verify.runtimes import Reals, Run
from wherry.converters.verify.tolerance import spread, spread_per_input, tolerance
from wherry.protocol import preparation
from wherry.protocol.manifest import Operator


def figures(run: Run) -> FamilyResult:
    """What running the file took, before anything is judged."""
    ran = run.ran
    if ran.error:
        return FamilyResult(family=run.family, version=ran.version, ok=False, reason=ran.error)
    return FamilyResult(
        family=run.family,
        version=ran.version,
        ok=True,
        reason="",
        load_ms=round(ran.load_ms, 3),
        p50_ms=round(ran.p50_ms, 4),
        p95_ms=round(ran.p95_ms, 4),
        delegated_ops=ran.delegated_ops,
        all_ops=ran.all_ops,
    )


def with_latency(result: FamilyResult, ran: Ran) -> FamilyResult:
    """With the times of another run of the same file."""
    return msgspec.structs.replace(
        result, load_ms=round(ran.load_ms, 3), p50_ms=round(ran.p50_ms, 4), p95_ms=round(ran.p95_ms, 4)
    )


def judge(run: Run, reference: Reals, stick: budget.Yardstick) -> FamilyResult:
    """Admit a family that ran the file within the budget; leave out any other, with the reason."""
    result = figures(run)
    if not result.ok:
        return result
    scores = budget.score(reference, run.real, stick)
    breach = budget.breach(scores, stick.budget) or budget.breach_elsewhere(reference, run.real, stick)
    return msgspec.structs.replace(result, ok=not breach, reason=breach, scores=scores)


def with_floor(result: FamilyResult, operators: tuple[Operator, ...], *, per_channel_dense: bool) -> FamilyResult:
    """Add the lowest version of an admitted family, and the reason."""
    if not result.ok:
        return result
    floor, reason = floors.floor(result.family, operators, result.version, per_channel_dense=per_channel_dense)
    return msgspec.structs.replace(result, floor=floor, reason=reason)


def said(results: list[FamilyResult]) -> str:
    """What every family said about the file, in one line."""
    return "; ".join(f"{result.family} {result.version}: {result.reason}" for result in results)


def candidate_spreads(admitted: list[Run]) -> npt.NDArray[np.float64]:
    """How far all kernels were apart on each candidate for a golden vector; [CANDIDATES] or fewer."""
    return spread_per_input([kernel for run in admitted for kernel in run.kernels])


def with_tolerance(
    result: FamilyResult, admitted: list[Run], calm: npt.NDArray[np.int64], vectors: int
) -> FamilyResult:
    """Add the tolerance of an admitted family, over all kernels of all families, on the `calm` candidates."""
    run = next((run for run in admitted if run.family == result.family), None)
    if run is None:
        return result
    kernels = [*run.kernels, *(kernel for other in admitted if other is not run for kernel in other.kernels)]
    specs = run.file.outputs
    by_output = [[kernel[index][calm] for kernel in kernels] for index in range(len(specs))]
    found = [spread(outputs, spec) for outputs, spec in zip(by_output, specs, strict=True)]
    largest = [
        float(np.abs(preparation.to_real(outputs[0], spec)).max(initial=0.0))
        for outputs, spec in zip(by_output, specs, strict=True)
    ]
    measured = tolerance(run.family, found, min(vectors, len(calm)), specs, largest)
    return msgspec.structs.replace(result, spread=_widest(found), tolerance=measured)


def fitting(candidates: npt.NDArray[np.int64], admitted: list[Run]) -> npt.NDArray[np.int64]:
    """As many of the chosen candidates as golden vectors may take up, at least one."""
    one = sum(spec.size_bytes for spec in admitted[0].file.inputs)
    one += len(admitted) * sum(spec.size_bytes for spec in admitted[0].file.outputs)
    return candidates[: max(golden.MAX_SET_BYTES // one, 1)]


def _widest(found: list[Spread]) -> Spread:
    return Spread(
        max_abs=max(entry.max_abs for entry in found),
        min_cosine=min(entry.min_cosine for entry in found),
        top1_share=min(entry.top1_share for entry in found),
    )
