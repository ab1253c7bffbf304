"""LiteRT, in the package ai-edge-litert: the successor of TensorFlow Lite's runtime."""

from importlib.metadata import version
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter as NativeInterpreter

from wherry.agent.worker.runtimes.tflite_api import TfliteInterpreter

_VERSION = version("ai-edge-litert")  # looked up on import: a sandbox may keep it from being read later


def load(path: Path, threads: int) -> TfliteInterpreter:
    """Build an interpreter for the model file at `path`."""
    native = NativeInterpreter(model_path=str(path), num_threads=threads)
    return TfliteInterpreter(native, _VERSION)
