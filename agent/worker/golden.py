"""Golden vectors: does this device compute what was recorded when the version was verified?

Rules upheld here:
- Pure: tensors in, a verdict in words out.
- Kernels differ, so outputs are compared within the manifest's tolerance and never bit for bit.
- An output that is not finite fails, whatever the tolerance; so does a recorded one, which nothing can match.
- Comparing nothing is not a success: a set without vectors, or without outputs of this family, is refused.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from wherry.agent.worker.errors import OrderRefused
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.golden import GoldenSet
from wherry.protocol.manifest import TensorSpec, Tolerance
from wherry.protocol.runtime import Family


class Case(msgspec.Struct, frozen=True):
    """One golden vector as tensors: what goes in, and what one family gave for it."""

    inputs: list[Tensor]
    expected: list[Tensor]


class Difference(msgspec.Struct, frozen=True):
    """How far one run was from the recorded one, over all of its outputs.

    `max_abs` is in steps of integer outputs, and in the unit of float outputs. `cosine` is the
    smallest over the outputs, between the real values that they stand for. `same_top` compares
    the largest value of the first output.
    """

    max_abs: float
    cosine: float
    same_top: bool
    finite: bool = True
    by_output: tuple[float, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` is for a person: what is out of tolerance, or the worst of all vectors."""

    ok: bool
    reason: str


def cases(golden: GoldenSet, family: Family, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> list[Case]:
    """The vectors as tensors. Raises OrderRefused where they are not for this model or this family."""
    if not golden.vectors:
        raise OrderRefused("there are no golden vectors to test with")
    found = []
    for number, vector in enumerate(golden.vectors):
        if family not in vector.outputs:
            raise OrderRefused(f"golden vector {number} has no outputs recorded with {family}")
        found.append(
            Case(
                inputs=_tensors(f"inputs of golden vector {number}", vector.inputs, inputs),
                expected=_tensors(f"outputs of golden vector {number}", vector.outputs[family], outputs),
            )
        )
    return found


def difference(specs: Sequence[TensorSpec], expected: Sequence[Tensor], actual: Sequence[Tensor]) -> Difference:
    """Compare one run's outputs, each of the shape and type of its spec, with the recorded ones."""
    pairs = [(_wide(want), _wide(got)) for want, got in zip(expected, actual, strict=True)]
    if not all(np.isfinite(want).all() and np.isfinite(got).all() for want, got in pairs):
        return Difference(math.inf, -1.0, same_top=False, finite=False)
    apart = tuple(float(np.abs(got - want).max(initial=0.0)) for want, got in pairs)
    return Difference(
        max_abs=max(apart),
        cosine=min(_cosine(spec, want, got) for spec, (want, got) in zip(specs, pairs, strict=True)),
        same_top=bool(np.argmax(expected[0]) == np.argmax(actual[0])),
        by_output=apart,
    )


def judge(differences: Iterable[Difference], tolerance: Tolerance) -> Verdict:
    """The verdict over at least one run; every limit of `tolerance` must hold."""
    runs = [*differences]
    worst_abs = max(run.max_abs for run in runs)
    worst_cosine = min(run.cosine for run in runs)
    top1_share = sum(run.same_top for run in runs) / len(runs)
    limits = {
        "an output is not a finite number": not all(run.finite for run in runs),
        f"off by {worst_abs:.6g}, allowed {tolerance.max_abs:.6g}": worst_abs > tolerance.max_abs,
        f"cosine {worst_cosine:.6f}, at least {tolerance.min_cosine:.6f}": worst_cosine < tolerance.min_cosine,
        f"top-1 share {top1_share:.3f}, at least {tolerance.min_top1_share:.3f}": top1_share < tolerance.min_top1_share,
    }
    for number, allowed in enumerate(tolerance.max_abs_by_output):
        off = max((run.by_output[number] for run in runs if number < len(run.by_output)), default=0.0)
        limits[f"output {number} off by {off:.6g}, allowed {allowed:.6g}"] = off > allowed
    broken = "; ".join(words for words, is_broken in limits.items() if is_broken)
    measured = f"worst difference {worst_abs:.6g}, worst cosine {worst_cosine:.6f}, same top-1 {top1_share:.3f}"
    return Verdict(
        ok=not broken,
        reason=f"{len(runs)} golden vectors on {tolerance.family} "
        + (f"out of tolerance: {broken}" if broken else f"within tolerance: {measured}"),
    )


def _tensors(what: str, raw: Sequence[bytes], specs: Sequence[TensorSpec]) -> list[Tensor]:
    sizes = [len(data) for data in raw]
    if sizes != [spec.size_bytes for spec in specs]:
        raise OrderRefused(f"{what} have {sizes} bytes, the model's {[spec.size_bytes for spec in specs]}")
    return [
        np.frombuffer(data, np.dtype(spec.dtype).newbyteorder("<")).astype(spec.dtype).reshape(spec.shape)
        for data, spec in zip(raw, specs, strict=True)
    ]


def _wide(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return tensor.astype(np.float64)


def _cosine(spec: TensorSpec, want: Tensor, got: Tensor) -> float:
    """Between the real values; the scale cancels, the zero point does not. 1 where they are equal."""
    zero_point = spec.quantization.zero_point if spec.quantization else 0
    want, got = _wide(want).ravel() - zero_point, _wide(got).ravel() - zero_point
    if np.array_equal(want, got):
        return 1.0
    norms = float(np.linalg.norm(want) * np.linalg.norm(got))
    return float(np.clip(np.dot(want, got) / norms, -1.0, 1.0)) if norms else 0.0
