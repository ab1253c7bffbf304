"""Which runtime families may have the file, why, and how near to the golden vectors they must be."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.errors import BudgetMissed, NoRuntime
from wherry.converters.report import FamilyResult
from wherry.converters.verify import budget, compare, floors, golden
from wherry.converters.verify.runtimes import Run, to_real
from wherry.converters.verify.tolerance import spread, spread_per_input, tolerance
from wherry.protocol.manifest import Operator


def judge(
    run: Run, reference: compare.Outputs, labels: npt.NDArray[np.int64] | None, limits: budget.Budget
) -> FamilyResult:
    """Admit a family that ran the file within the budget; leave out any other, with the reason."""
    if run.stored is None:
        return FamilyResult(family=run.family, version=run.ran.version, ok=False, reason=run.ran.error)
    scores = budget.score(reference, run.real, labels)
    breach = budget.breach(scores, limits)
    return FamilyResult(
        family=run.family,
        version=run.ran.version,
        ok=not breach,
        reason=breach,
        scores=scores,
        load_ms=round(run.ran.load_ms, 3),
        p50_ms=round(run.ran.p50_ms, 4),
        p95_ms=round(run.ran.p95_ms, 4),
    )


def with_floor(result: FamilyResult, operators: tuple[Operator, ...], *, per_channel_dense: bool) -> FamilyResult:
    """Add the lowest version of an admitted family, and the reason."""
    if not result.ok:
        return result
    floor, reason = floors.floor(result.family, operators, result.version, per_channel_dense=per_channel_dense)
    return msgspec.structs.replace(result, floor=floor, reason=reason)


def require_any(results: list[FamilyResult], hint: str) -> None:
    """Raises BudgetMissed or NoRuntime where no family is left; `hint` is a likelier cause than the usual."""
    if any(result.ok for result in results):
        return
    if not results:
        raise NoRuntime("no TFLite runtime is installed here, so nothing can be verified", "install wherry[tflite]")
    said = "; ".join(f"{result.family} {result.version}: {result.reason}" for result in results)
    if any(result.scores for result in results):
        fix = hint or "calibrate with more, representative inputs, prepared as in training, or allow a larger loss"
        raise BudgetMissed(f"the compressed model misses its budget: {said}", fix)
    raise NoRuntime(f"no runtime here runs the converted model: {said}", "try another recipe")


def candidate_spreads(admitted: list[Run]) -> npt.NDArray[np.float64]:
    """How far all kernels were apart on each candidate for a golden vector; [CANDIDATES] or fewer."""
    return spread_per_input([stored for run in admitted for stored in _kernels(run)])


def with_tolerance(result: FamilyResult, admitted: list[Run], calm: npt.NDArray[np.int64]) -> FamilyResult:
    """Add the tolerance of an admitted family, over all kernels of all families, on the `calm` candidates."""
    run = next((run for run in admitted if run.family == result.family), None)
    if run is None:
        return result
    others = [stored for other in admitted if other is not run for stored in _kernels(other)]
    outputs = [stored[calm] for stored in (*_kernels(run), *others)]
    real = [to_real(stored, run.output) for stored in outputs]
    found = spread(outputs, real)
    measured = tolerance(
        run.family,
        found,
        min(golden.VECTORS, len(calm)),
        largest=float(np.abs(real[0]).max()),
        integers=run.output.quantization is not None,
    )
    return msgspec.structs.replace(result, spread=found, tolerance=measured)


def _kernels(run: Run) -> list[npt.NDArray[Any]]:
    """Outputs of the candidates: by default, in a fresh interpreter, and with XNNPACK off."""
    return [stored[: golden.CANDIDATES] for stored in (run.stored, run.again, run.plain) if stored is not None]
