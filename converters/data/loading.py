"""Data in any form to the inputs of a model.

Rules upheld here:
- Without preprocessing or a layout, values are taken as they are.
- The same data gives the same samples in the same order: nothing is drawn by chance.
- Everything that can be refused by shapes and types is refused before samples are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wherry.converters.data import archives, callables, fitness, pictures
from wherry.converters.data.layouts import parse_layout, source_layout, turn
from wherry.converters.data.preprocessing import for_inputs
from wherry.converters.data.rows import Array, Column, Found
from wherry.converters.data.sample_set import SampleSet
from wherry.converters.data.spread import evenly, evenly_by_class
from wherry.converters.errors import BadRequest, DataError
from wherry.converters.model import End
from wherry.protocol.manifest import Preprocessing
from wherry.protocol.preparation import preprocess

FORMS = "data is a .npz or .npy file, a folder of pictures, or package.module:callable"


def load(
    where: str,
    ends: Sequence[End],
    preprocessing: Mapping[str, Preprocessing],
    *,
    layout: str | None = None,
    limit: int,
    balanced: bool = False,
    class_names: Sequence[str] = (),
) -> SampleSet:
    """At most `limit` samples of the data at `where`, evenly spread over it, as the inputs `ends` take them.

    `preprocessing` is by input name, "" for the only one. `layout` is that of pictures in the data,
    where it is not the source's.
    `balanced` spreads within classes where there are labels. `class_names`, in the order of the model's output,
    number the folders of a folder of pictures; without them the folders are numbered in the order of their names.
    Raises DataError, and BadRequest where preprocessing or layout cannot be meant for this model.
    """
    ends = tuple(ends)
    preprocessing = for_inputs(preprocessing, ends)
    found = _open(where, ends, preprocessing, limit)
    said = found.layout or parse_layout(layout)
    columns = _matched(found, ends)
    for end in ends:
        own_layout = said if source_layout(end) else ""
        fitness.check_column(f"{where}: {_said(found, end, ends)}", columns[end.name], end, own_layout, found.fix)
    count = fitness.check_counts(found, columns)
    labels, names = _labels(found, count, class_names)
    chosen = evenly_by_class(labels, limit) if balanced and labels is not None else evenly(count, limit)
    inputs = {
        end.name: _prepared(
            f"{where}: {_said(found, end, ends)}",
            turn(columns[end.name].take(chosen), said if source_layout(end) else "", source_layout(end)),
            end,
            preprocessing.get(end.name),
        )
        for end in ends
    }
    return SampleSet(where, inputs, None if labels is None else labels[chosen], names, count)


def _open(where: str, ends: tuple[End, ...], preprocessing: Mapping[str, Preprocessing], limit: int) -> Found:
    path = Path(where)
    label_key = "labels" if any(end.name == "y" for end in ends) else "y"
    if path.is_dir():
        return pictures.read_folder(where, path, ends, preprocessing.get(ends[0].name))
    if path.is_file():
        found = archives.read_file(where, path)
    elif callables.is_callable_name(where):
        found = callables.call(where, ends, label_key, limit)
    elif path.exists():
        raise DataError(f"{where}: neither a file nor a folder", FORMS)
    else:
        raise DataError(f"{where}: no such file or folder", f"check the path; {FORMS}")
    columns = {name: column for name, column in found.columns.items() if name != label_key}
    return replace(found, columns=columns, labels=found.columns.get(label_key))


def _matched(found: Found, ends: Sequence[End]) -> dict[str, Column]:
    """The column of each input. Raises DataError."""
    names = {end.name: _name_in(found, end, ends) for end in ends}
    missing = [name for name, own in names.items() if own is None]
    if not missing:
        return {name: found.columns[own] for name, own in names.items() if own is not None}
    seen = ", ".join(sorted([*found.columns, *(["y"] if found.labels else [])])) or "nothing"
    if len(ends) == 1:
        raise DataError(f"{found.where}: no array `x` (found: {seen})", found.fix)
    wanted = ", ".join(f"{end.name}=..." for end in ends)
    raise DataError(
        f"{found.where}: no array {' and '.join(f'`{name}`' for name in missing)} (found: {seen}); "
        f"the model has the inputs {', '.join(names)}",
        f"give one array for each input: numpy.savez(path, {wanted}), with `**` and a dict for names with other signs",
    )


def _name_in(found: Found, end: End, ends: Sequence[End]) -> str | None:
    """What the data calls the input: `x` if it is the only one, its name, or its name without `:0`."""
    candidates = [*(["x"] if len(ends) == 1 else []), end.name, end.name.split(":")[0]]
    return next((name for name in candidates if name in found.columns), None)


def _said(found: Found, end: End, ends: Sequence[End]) -> str:
    return _name_in(found, end, ends) or end.name


def _labels(
    found: Found, count: int, class_names: Sequence[str]
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
    if found.labels is None:
        return None, ()
    labels = fitness.checked_labels(found.where, found.labels, count)
    if found.class_names and set(found.class_names) <= set(class_names):
        return np.array([class_names.index(name) for name in found.class_names])[labels], tuple(class_names)
    return labels, found.class_names


def _prepared(name: str, raw: Array, end: End, how: Preprocessing | None) -> Array:
    """Raw samples [N, ...] in the source's layout, as the model takes them."""
    if how is None:
        return np.ascontiguousarray(fitness.typed(name, raw, end))
    try:
        real = preprocess(raw, how, source_layout(end))
    except ValueError as error:
        raise BadRequest(f"--preprocess of {end.name}: {error}", "give one number, or one for each channel") from error
    return np.ascontiguousarray(fitness.typed(name, real, end))
