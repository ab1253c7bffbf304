"""How often a candidate gives the class that the incumbent gave, on inputs that were asked on this board.

Rules upheld here:
- Compared is what means the same to both: real values of the same shape and preparation, and classes of the same
  names. Where quantization differs, the input is stored as the candidate has it.
- An input that the candidate cannot answer counts as answered otherwise.
- Nothing here refuses a candidate. What is found is told, and whoever rolls it out judges it.
"""

from collections.abc import Iterable, Sequence
from time import perf_counter

import numpy as np
from msgspec.structs import replace

from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.agent.worker.samples import Described, Sample, read_samples
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.preparation import to_real, to_stored
from wherry.protocol.scores import ScoreReader, has_scores
from wherry.protocol.types import Struct

LIMIT_S = 5.0
"""For the sake of slow models; the incumbent serves meanwhile."""


class Compared(Struct, frozen=True, kw_only=True):
    """`remark` says in words what was found, or why nothing was compared."""

    compared: int = 0
    agreed: int = 0
    remark: str = ""


def describe(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], labels: tuple[str, ...]) -> Described | None:
    """What samples of a model mean; None for one whose answers have no top class."""
    if not has_scores(tuple(outputs)):
        return None
    return Described(inputs=tuple(inputs), classes=outputs[0].shape[-1], labels=labels)


def compare(model: Model, labels: tuple[str, ...], file: int) -> Compared:
    """On the samples in the open `file`, as long as there is time."""
    try:
        return _compare(model, labels, file)
    except Exception as error:  # noqa: BLE001 - whatever a worker that was taken over has written there
        return Compared(remark=f"not compared with the incumbent: {type(error).__name__}: {error}")


def _compare(model: Model, labels: tuple[str, ...], file: int) -> Compared:
    ours = describe(model.inputs, model.outputs, labels)
    if ours is None:
        return Compared(remark="answers without a class are not compared")
    theirs, samples = read_samples(file)
    if (apart := _difference(ours, theirs)) is not None:
        return Compared(remark=f"not compared with the incumbent: {apart}")
    found = _count(model, theirs, samples)
    if not found.compared:
        return Compared(remark="not compared with the incumbent: nothing was asked of it yet")
    return replace(found, remark=f"the incumbent's class on {found.agreed} of {found.compared} inputs that it kept")


def _difference(ours: Described, theirs: Described) -> str | None:
    """What keeps the two from being compared."""
    if (ours.classes, ours.labels) != (theirs.classes, theirs.labels):
        return "the classes are others"
    if [_meaning(spec) for spec in ours.inputs] != [_meaning(spec) for spec in theirs.inputs]:
        return "the inputs are others"
    return None


def _meaning(spec: TensorSpec) -> TensorSpec:
    """Without how it is named and stored."""
    return replace(spec, name="", dtype="float32", quantization=None)


def _count(model: Model, theirs: Described, samples: Iterable[Sample]) -> Compared:
    scores, start = ScoreReader(model.outputs[0]), perf_counter()
    compared = agreed = 0
    for sample in samples:
        if perf_counter() - start > LIMIT_S:
            break
        compared += 1
        stored = _stored(sample.inputs, theirs.inputs, model.inputs)
        agreed += _top(model, scores, stored) == sample.top
    return Compared(compared=compared, agreed=agreed)


def _stored(data: bytes, theirs: Sequence[TensorSpec], ours: Sequence[TensorSpec]) -> list[Tensor]:
    """The inputs as the model takes them."""
    tensors, at = [], 0
    for was, now in zip(theirs, ours, strict=True):
        size = was.size_bytes
        tensor = np.frombuffer(data[at : at + size], was.dtype).reshape(was.shape)
        is_same = (was.dtype, was.quantization) == (now.dtype, now.quantization)
        tensors.append(tensor if is_same else to_stored(to_real(tensor, was), now))
        at += size
    return tensors


def _top(model: Model, scores: ScoreReader, inputs: Sequence[Tensor]) -> int | None:
    try:
        return scores.read(model.run(inputs)[0][0]).top
    except Exception:  # noqa: BLE001 - whatever a runtime raises, there is no answer
        return None
