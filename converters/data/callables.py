"""`package.module:callable`: data that code of the user's makes.

Rules upheld here:
- The code is run on purpose: the user names it. The current directory can be imported from.
- It returns arrays, a dict of them by input name, or (inputs, labels); or it yields samples, or batches of them.
- Of samples that are given one by one, every second, fourth, … is kept, so that memory stays bounded and those kept
  are spread evenly; after `AT_MOST_TIMES` the wanted number no more are asked for.
"""

import contextlib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from wherry.converters.data.archives import read_arrays
from wherry.converters.data.rows import Array, Found
from wherry.converters.errors import DataError
from wherry.converters.model import End

AT_MOST_TIMES = 16

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_FORM = (
    "let it take no arguments and return inputs [N, ...], (inputs, labels), a dict with one array for each input, "
    "or yield samples"
)

Sample = dict[str, Array]


def is_callable_name(where: str) -> bool:
    return _NAME.fullmatch(where) is not None


def call(where: str, ends: tuple[End, ...], label_key: str, limit: int) -> Found:
    """What the callable makes. Raises DataError."""
    with _current_directory(), _blaming(where):
        made = _resolve(where)()
        arrays = _arrays(where, made, ends, label_key, limit)
    return read_arrays(where, arrays, _FORM)


def _resolve(where: str) -> Callable[[], Any]:
    module_name, _, name = where.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        raise DataError(
            f"{where}: there is no module {error.name}", f"start in the directory that holds it, here {Path.cwd()}"
        ) from error
    try:
        found: Any = attrgetter(name)(module)
    except AttributeError as error:
        raise DataError(f"{where}: the module {module_name} has no {name}", "check the name after the colon") from error
    if not callable(found):
        raise DataError(f"{where}: is {type(found).__name__} and cannot be called", _FORM)
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise DataError(f"{where}: cannot be called without arguments: {error}", _FORM) from error
    except ValueError:
        pass  # has no signature to look at
    return found  # type: ignore[no-any-return]


def _arrays(where: str, made: Any, ends: tuple[End, ...], label_key: str, limit: int) -> dict[str, Array]:
    if isinstance(made, Mapping | tuple) or hasattr(made, "__array__"):
        return _parts(where, made, ends, label_key)
    if isinstance(made, Iterable) and not isinstance(made, str | bytes):
        return _stacked(where, _spread(_samples(where, made, ends, label_key), limit))
    raise DataError(f"{where}: returned {type(made).__name__}, which is no data", _FORM)


def _parts(where: str, made: Any, ends: tuple[End, ...], label_key: str) -> dict[str, Array]:
    """Arrays by name, of a whole set, a batch or a sample; labels under `label_key`."""
    if isinstance(made, Mapping):
        return {str(name): np.asarray(values) for name, values in made.items()}
    if hasattr(made, "__array__") or isinstance(made, list | int | float):
        return {"x": np.asarray(made)}
    if (
        isinstance(made, tuple)
        and len(ends) > 1
        and len(made) == len(ends)
        and not isinstance(made[0], Mapping | tuple)
    ):
        return {end.name: np.asarray(values) for end, values in zip(ends, made, strict=True)}
    if isinstance(made, tuple) and len(made) == 2:
        return {**_parts(where, made[0], ends, label_key), label_key: np.asarray(made[1])}
    if isinstance(made, tuple) and len(made) == 1:
        return _parts(where, made[0], ends, label_key)
    what = f"a tuple of {len(made)}" if isinstance(made, tuple) else type(made).__name__
    raise DataError(f"{where}: gave {what}, which is neither inputs nor (inputs, label)", _FORM)


def _samples(where: str, made: Iterable[Any], ends: tuple[End, ...], label_key: str) -> Iterator[Sample]:
    """One by one; what has one axis more than a sample is a batch."""
    for item in made:
        parts = _parts(where, item, ends, label_key)
        values = parts.get(ends[0].name, next(iter(parts.values())))
        if values.ndim == len(ends[0].sample_shape) + 1:
            for index in range(len(values)):
                yield {name: array[index] for name, array in parts.items()}
        else:
            yield parts


def _spread(samples: Iterator[Sample], limit: int) -> list[Sample]:
    """Evenly spread over what was given, between `limit` and twice as many where there are so many."""
    kept: list[Sample] = []
    stride = 1
    for number, sample in enumerate(samples):
        if number >= AT_MOST_TIMES * limit:
            break
        if number % stride == 0:
            kept.append(sample)
        if len(kept) > 2 * limit:
            kept, stride = kept[::2], stride * 2
    return kept


def _stacked(where: str, samples: list[Sample]) -> dict[str, Array]:
    if not samples:
        raise DataError(f"{where}: gave no samples", _FORM)
    for number, sample in enumerate(samples):
        for name, values in samples[0].items():
            if name not in sample or sample[name].shape != values.shape:
                found = list(sample[name].shape) if name in sample else "missing"
                raise DataError(
                    f"{where}: {name} is {list(values.shape)} in the first sample and {found} in another, {number}",
                    "give all samples the same form, labels for all or for none",
                )
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


@contextlib.contextmanager
def _current_directory() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextlib.contextmanager
def _blaming(where: str) -> Iterator[None]:
    """What the user's code raises is shown with the line that raised it, and without a traceback."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise DataError(f"{where}: raised {type(error).__name__}: {error}{line}", "mend this code") from error
