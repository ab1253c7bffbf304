"""How alike two sets of outputs are. Pure; outputs are [N, ...] real values."""

import numpy as np
import numpy.typing as npt

Outputs = npt.NDArray[np.float32]

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


def top1_share(reference: Outputs, found: Outputs) -> float:
    """Share of samples whose largest output is the same."""
    return float(np.mean(_top1(reference) == _top1(found)))


def explained_share(reference: Outputs, found: Outputs) -> float:
    """Share of the reference's variance over the samples that `found` reproduces, 0 to 1."""
    spread = float(np.square(reference - reference.mean(axis=0), dtype=np.float64).sum())
    missed = float(np.square(reference.astype(np.float64) - found).sum())
    if missed == 0:
        return 1.0
    return max(0.0, 1 - missed / spread) if spread else 0.0


def agreement(reference: Outputs, found: Outputs, *, classes: bool) -> float:
    """Same top-1 for one score a class; the explained share for any other output."""
    return top1_share(reference, found) if classes else explained_share(reference, found)


def right(outputs: Outputs, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each sample's largest output is the labelled class."""
    found: npt.NDArray[np.bool_] = _top1(outputs) == labels
    return found


def confusion(outputs: Outputs, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[classes, classes] counts: rows are the labels, columns the predictions."""
    classes = outputs.reshape(len(outputs), -1).shape[1]
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, _top1(outputs)), 1)
    return counts


def is_scores(output_shape: tuple[int, ...]) -> bool:
    """Whether an output, without its batch, is one score a class."""
    return len(output_shape) == 1 and output_shape[0] >= 2


def _top1(outputs: Outputs) -> npt.NDArray[np.int64]:
    classes: npt.NDArray[np.int64] = outputs.reshape(len(outputs), -1).argmax(axis=1)
    return classes
