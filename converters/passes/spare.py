"""TensorFlow and Keras without the packages that they only take along.

Keras offers wrappers for scikit-learn, plots by Matplotlib, and takes frames of pandas, and so imports these wherever
they are installed, which takes as long as half of TensorFlow. Where they are not it does without, as conversions do.

Rules upheld here:
- They are out of reach only while a framework is imported: the user's own layers and factories find them.
- What was imported before stays.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

FRAMEWORKS = ("tensorflow", "keras", "tf_keras")
TAKEN_ALONG = ("sklearn", "pandas", "matplotlib")


def spare_imports() -> None:
    """From now on, in this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, path, target) if name in FRAMEWORKS else None
        if found is not None and found.loader is not None:
            _wrap(found.loader)
        return found


def _wrap(loader: Any) -> None:
    load = loader.exec_module

    def alone(module: ModuleType) -> None:
        with _out_of_reach():
            load(module)

    loader.exec_module = alone


@contextmanager
def _out_of_reach() -> Iterator[None]:
    """Whoever asks is told that they are not installed."""
    hidden = [name for name in TAKEN_ALONG if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is what says so
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
