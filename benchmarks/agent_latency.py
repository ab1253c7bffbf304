"""What the data plane costs: the same inputs through bare invoke, the fast mode and binary HTTP, by turns.

What is measured, and why it is fair:
- The worker is that of a real agent, in its sandbox, which counts every inference and reads its scores.
- Bare invoke is set, invoke, get with LiteRT and as many threads, in this process.
- A few dozen calls of each are made in turn, so that whatever else the machine does falls upon all of them.
- HTTP is spoken by Python's own `http.client` on a kept connection: what a client library costs is its own.
"""

import json
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np

from benchmarks.agent_cargo import SmallModel
from benchmarks.form import Failed, Result, Row, progress
from wherry.agent.client import Client

IN_TURN = 25
WARM_UP = 200
HTTP_TIMEOUT_S = 10.0

Series = dict[str, list[float]]
"""Milliseconds by the way that was taken."""


@dataclass(frozen=True)
class Quantiles:
    p50: float
    p95: float


def measure(model: SmallModel, sockets: Path, *, runs: int, calls: int) -> Result:
    with Client(directory=sockets) as client, _HttpPath(model, sockets / "main.sock") as http:
        ways: dict[str, Callable[[], object]] = {
            "bare": lambda: model.bare.run([model.sample]),
            "fast": lambda: client.infer(model.sample),
            "http": http.infer,
        }
        _agree(model, client, http)
        for way in ways.values():
            for _ in range(WARM_UP):
                way()
        found = [_run(ways, calls) for _ in range(runs)]
    return _result(model, found, calls)


def _run(ways: dict[str, Callable[[], object]], calls: int) -> Series:
    series: Series = {name: [] for name in ways}
    for _ in range(max(calls // IN_TURN, 1)):
        for name, way in ways.items():
            series[name] += [_milliseconds(way) for _ in range(IN_TURN)]
    told = {name: _quantiles(times).p50 for name, times in series.items()}
    progress("latency, p50 in ms: " + ", ".join(f"{name} {p50:.3f}" for name, p50 in told.items()))
    return series


def _milliseconds(way: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    way()
    return (time.perf_counter() - start_s) * 1e3


def _agree(model: SmallModel, client: Client, http: "_HttpPath") -> None:
    """All ways must give the same answer, or the figures compare nothing. Raises Failed."""
    bare = model.bare.run([model.sample])[0].tobytes()
    if client.infer(model.sample).stored[0].tobytes() != bare:
        raise Failed("the fast mode answers otherwise than bare invoke")
    if http.infer() != bare:
        raise Failed("HTTP answers otherwise than bare invoke")


def _result(model: SmallModel, found: list[Series], calls: int) -> Result:
    ratios = [_quantiles(run["fast"]).p50 / _quantiles(run["bare"]).p50 for run in found]
    overheads_ms = [_quantiles(run["http"]).p50 - _quantiles(run["bare"]).p50 for run in found]
    n = f"{len(found)} x {calls}"
    of = {name: _quantiles([time_ms for run in found for time_ms in run[name]]) for name in found[0]}
    rows = tuple(
        Row(
            figure=f"{model.name} through {what}, {quantile}",
            value=getattr(of[name], quantile),
            unit="ms",
            n=n,
            bare="bare invoke",
            bare_value=getattr(of["bare"], quantile),
        )
        for name, what in (("fast", "the fast mode"), ("http", "binary HTTP"))
        for quantile in ("p50", "p95")
    )
    return Result(
        headline={"fast_ratio_to_bare": statistics.median(ratios), "http_overhead_ms": statistics.median(overheads_ms)},
        n={"latency_runs": len(found), "latency_calls": calls},
        rows=rows,
        detail={
            "fast_ratio_lowest_run": min(ratios),
            "fast_ratio_highest_run": max(ratios),
            "fast_overhead_us": (of["fast"].p50 - of["bare"].p50) * 1e3,
        },
    )


def _quantiles(times_ms: list[float]) -> Quantiles:
    p50, p95 = np.percentile(times_ms, [50, 95])
    return Quantiles(float(p50), float(p95))


class _HttpPath:
    """The Open Inference Protocol with the binary tensor extension, over the slot's Unix socket."""

    def __init__(self, model: SmallModel, path: Path) -> None:
        given = model.bare.inputs[0]
        data = model.sample.tobytes()
        tensor = {
            "name": given.name, "shape": list(given.shape), "datatype": given.dtype.upper(),
            "parameters": {"binary_data_size": len(data)},
        }  # fmt: skip
        header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        self._body = header + data
        self._headers = {
            "Inference-Header-Content-Length": str(len(header)),
            "Content-Type": "application/octet-stream",
        }
        self._url = f"/v2/models/{model.name}/infer"
        self._connection = _UnixConnection(path)

    def __enter__(self) -> "_HttpPath":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def infer(self) -> bytes:
        """The first output's stored bytes. Raises Failed."""
        try:
            self._connection.request("POST", self._url, self._body, self._headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            raise Failed(f"HTTP does not answer: {error or type(error).__name__}") from error
        if answer.status != 200:
            raise Failed(f"HTTP answers {answer.status}: {body[:200].decode(errors='replace')}")
        return body[int(answer.headers["Inference-Header-Content-Length"]) :]


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=HTTP_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
