"""The runtime of TensorFlow Lite alone, in the package tflite-runtime, for Python up to 3.11."""

from importlib.metadata import version
from pathlib import Path

from tflite_runtime.interpreter import Interpreter as NativeInterpreter

from wherry.agent.worker.runtimes.tflite_api import TfliteInterpreter

_VERSION = version("tflite-runtime")  # looked up on import: a sandbox may keep it from being read later


def load(path: Path, threads: int) -> TfliteInterpreter:
    """Build an interpreter for the model file at `path`."""
    native = NativeInterpreter(model_path=str(path), num_threads=threads)
    return TfliteInterpreter(native, _VERSION)
