"""What this board can do, found out by trying it.

Rules upheld here:
- A runtime counts only where a worker has built an interpreter with it and run a model: tflite-runtime
  beside numpy 2, for one, imports without complaint and then cannot build one.
- Nothing is tried in this process: a runtime that crashes takes its worker down, and that is its reason.
- Nothing is written to a disk, which may be full: a board with a full disk has to serve what it has.
"""

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from wherry.agent.adapters import probe_model
from wherry.agent.adapters.board import BoardFacts, accelerators, board
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerProcess, WorkerSaid
from wherry.agent.services import Worker
from wherry.agent.worker.messages import Load, Loaded, Refused
from wherry.protocol.runtime import Family, Runtime

__all__ = ["BoardFacts", "Probe", "accelerators", "board", "probe_families", "probe_runtimes"]

PREFERENCE: tuple[Family, ...] = ("litert", "tflite-runtime")
"""LiteRT first: it is faster by far on int8, and it is the one still developed."""

PROBE_S = 30.0
"""A cold start from a slow card takes seconds; longer than this is a hang."""

_Event = WorkerSaid | WorkerEnded


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """`runtime` where it works, else None with the reason."""

    family: Family
    runtime: Runtime | None = None
    reason: str = ""


def probe_runtimes(wanted: Literal["auto"] | Family) -> tuple[Runtime, ...]:
    """The runtimes that work, the preferred one first; all that there are for "auto"."""
    return tuple(probe.runtime for probe in probe_families(wanted) if probe.runtime)


def probe_families(wanted: Literal["auto"] | Family) -> tuple[Probe, ...]:
    """Try one family, or all of them in the order of preference, at once. Takes a fraction of a second."""
    families = PREFERENCE if wanted == "auto" else (wanted,)
    with _model_in_memory() as file:
        started = [(family, *_start(family, file)) for family in families]
        return tuple(_finish(family, worker, events) for family, worker, events in started)


@contextmanager
def _model_in_memory() -> Iterator[int]:
    """An open file that exists in memory alone."""
    handle = os.memfd_create("probe.tflite")
    try:
        os.write(handle, probe_model.FILE)
        yield handle
    finally:
        os.close(handle)


def _start(family: Family, file: int) -> tuple[Worker, queue.SimpleQueue[_Event]]:
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    worker = WorkerProcess.start("probe", family, events.put)
    worker.send(Load(family=family, inputs=(probe_model.INPUT,), outputs=(probe_model.OUTPUT,)), [file])
    return worker, events


def _finish(family: Family, worker: Worker, events: queue.SimpleQueue[_Event]) -> Probe:
    try:
        event = events.get(timeout=PROBE_S)
    except queue.Empty:
        worker.kill()
        return Probe(family=family, reason=f"gave no answer within {PROBE_S:g} s")
    finally:
        worker.close()
    match event:
        case WorkerSaid(answer=Loaded(runtime_version=version)):
            return Probe(family=family, runtime=Runtime(family=family, version=version))
        case WorkerSaid(answer=Refused(reason=reason)):
            return Probe(family=family, reason=reason)
        case WorkerEnded(detail=detail):
            return Probe(family=family, reason=detail)
        case _:
            return Probe(family=family, reason="gave an answer that was not asked for")
