"""The runtimes behind one interface; one is imported only when its family is asked for."""

from importlib import import_module
from pathlib import Path
from typing import cast

from wherry.agent.worker.runtimes.interpreter import Interpreter, Loader
from wherry.protocol.runtime import Family

MODULES: dict[Family, str] = {
    "litert": "wherry.agent.worker.runtimes.litert",
    "tflite-runtime": "wherry.agent.worker.runtimes.tflite_runtime",
}
"""Each module has a function `load` that is a `Loader`."""

__all__ = ["MODULES", "Interpreter", "load"]


def load(family: Family, path: Path, threads: int) -> Interpreter:
    """Build an interpreter of `family` for a model file; whatever the runtime raises comes through."""
    return cast(Loader, import_module(MODULES[family]).load)(path, threads)
