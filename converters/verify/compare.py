"""How alike two sets of outputs are. Pure; outputs are [N, ...] real values."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Outputs = npt.NDArray[np.float32]

UNEVEN = 50.0
"""Times: a range that much smaller keeps five steps of 255."""

MAX_SNR_DB = 300.0
"""Stands for equality, which has no ratio."""


def snr_db(reference: Outputs, found: Outputs) -> float:
    """Power of the reference over power of the difference, in dB."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference.astype(np.float64) - found).sum())
    if noise == 0:
        return MAX_SNR_DB
    return min(10 * float(np.log10(max(signal, 1e-300) / noise)), MAX_SNR_DB)


def cosines(reference: Outputs, found: Outputs) -> npt.NDArray[np.float64]:
    """Cosine of each sample's output with its reference; two zero outputs are alike, one is not."""
    a = reference.reshape(len(reference), -1).astype(np.float64)
    b = found.reshape(len(found), -1).astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    alike = (a == b).all(axis=1)
    return np.where(alike, 1.0, np.clip((a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0), -1.0, 1.0))


@dataclass(frozen=True)
class Reading:
    """How an output is read: one score a class, one score of two classes against `threshold`, or plain values."""

    classes: bool
    threshold: float | None = None


SCORES = Reading(classes=True)


def reading(reference: Outputs) -> Reading:
    """As the values themselves suggest: a vector is one score a class, unless its parts have unlike ranges."""
    return Reading(is_scores(reference.shape[1:]) and not is_uneven(reference))


def binary(reference: Outputs | None) -> Reading:
    """One score for the second of two classes: a probability where all are between 0 and 1, else a logit."""
    probability = reference is None or (reference.min() >= 0 and reference.max() <= 1)
    return Reading(classes=True, threshold=0.5 if probability else 0.0)


def decisions(outputs: Outputs, how: Reading) -> npt.NDArray[np.int64]:
    """The class of each sample; [N]."""
    flat = outputs.reshape(len(outputs), -1)
    if how.threshold is not None:
        return (flat[:, 0] > how.threshold).astype(np.int64)
    classes: npt.NDArray[np.int64] = flat.argmax(axis=1)
    return classes


def top1_share(reference: Outputs, found: Outputs, how: Reading = SCORES) -> float:
    """Share of samples whose class is the same."""
    return float(np.mean(decisions(reference, how) == decisions(found, how)))


def explained_share(reference: Outputs, found: Outputs) -> float:
    """Share of the reference's variance over the samples that `found` reproduces, 0 to 1.

    Where the channels of the last axis have unlike ranges, as boxes in pixels beside scores, it is that of the worst
    channel: of all together the scores would not count.
    """
    if is_uneven(reference):
        channels = range(reference.shape[-1])
        shares = [_explained(reference[..., c], found[..., c]) for c in channels if np.ptp(reference[..., c]) > 0]
        return min(shares, default=1.0)
    return _explained(reference, found)


def agreement(reference: Outputs, found: Outputs, how: Reading) -> float:
    """Same class for one score a class; the explained share for any other output."""
    return top1_share(reference, found, how) if how.classes else explained_share(reference, found)


def right(outputs: Outputs, labels: npt.NDArray[np.int64], how: Reading = SCORES) -> npt.NDArray[np.bool_]:
    """Whether each sample's class is the labelled one."""
    found: npt.NDArray[np.bool_] = decisions(outputs, how) == labels
    return found


def confusion(outputs: Outputs, labels: npt.NDArray[np.int64], how: Reading = SCORES) -> npt.NDArray[np.int64]:
    """[classes, classes] counts: rows are the labels, columns the predictions."""
    classes = 2 if how.threshold is not None else outputs.reshape(len(outputs), -1).shape[1]
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, decisions(outputs, how)), 1)
    return counts


def is_scores(output_shape: tuple[int, ...]) -> bool:
    """Whether an output, without its batch, can be one score a class."""
    return len(output_shape) == 1 and output_shape[0] >= 2


def is_uneven(outputs: Outputs) -> bool:
    """Whether the channels of the last axis have ranges so unlike that no scale serves all; never probabilities."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        return False
    if outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1.0, atol=0.02):
        return False
    flat = outputs.reshape(-1, outputs.shape[-1])
    widths = np.maximum(flat.max(axis=0), 0) - np.minimum(flat.min(axis=0), 0)
    widths = widths[np.ptp(flat, axis=0) > 0]
    return bool(widths.size >= 2 and widths.max() >= UNEVEN * widths.min())


def _explained(reference: Outputs, found: Outputs) -> float:
    spread = float(np.square(reference - reference.mean(axis=0), dtype=np.float64).sum())
    missed = float(np.square(reference.astype(np.float64) - found).sum())
    if missed == 0:
        return 1.0
    return max(0.0, 1 - missed / spread) if spread else 0.0
