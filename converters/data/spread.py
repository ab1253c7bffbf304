"""Which samples to take where there are more than are wanted: always the same ones, from all over the data."""

import numpy as np
import numpy.typing as npt


def evenly(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """At most `wanted` different indices, evenly spread over `count`, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


def evenly_by_class(labels: npt.NDArray[np.int64], wanted: int) -> npt.NDArray[np.int64]:
    """At most `wanted` different indices, evenly spread within each class, ascending.

    As many of one class as of another; what a small class lacks is given to the larger ones.
    """
    classes, counts = np.unique(labels, return_counts=True)
    left, chosen = min(wanted, len(labels)), []
    for done, position in enumerate(np.argsort(counts, kind="stable")):
        places = np.flatnonzero(labels == classes[position])
        share = min(left // (len(classes) - done), len(places))
        if share:
            chosen.append(places[evenly(len(places), share)])
        left -= share
    return np.sort(np.concatenate(chosen)).astype(np.int64)
