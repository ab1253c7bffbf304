"""What a worker can no longer do, tried from the inside by a hostile runtime, and what the kernel says of it."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from benchmarks.sandbox import take_turns
from tests.conftest import Tried
from tests.support import hostile_runtime
from tests.support.hostile_runtime import ATTEMPTS, ONLY_WHEN_LOCKED, SPEC, Target, heard
from tests.support.live_worker import FAMILIES, Handed, LiveWorker, TinyCase
from tests.support.sandboxes import IS_ROOT, NOBODY, OTHER_USER, SANDBOX, USUAL
from tests.support.soak import SOAKING, scaled
from wherry.agent.adapters import worker_process
from wherry.agent.client import Client
from wherry.agent.worker import sandbox_files
from wherry.agent.worker.messages import (
    Identity,
    Load,
    Loaded,
    Refused,
    Sandbox,
    SelfTest,
    Serve,
    Serving,
    Stop,
    Stopped,
    Window,
)
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import Tolerance
from wherry.protocol.runtime import Family

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root becomes another user")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    state = tmp_path / "state.a"
    state.write_text("the supervisor's own")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "app.sock"))
        unix.listen()
        yield Target(os.getpid(), str(tmp_path), str(state), tcp.getsockname()[1], unix.getsockname())


@pytest.fixture
def hostile_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real worker, but for the runtime that it finds."""
    honest = worker_process.command
    module = hostile_runtime.__name__
    monkeypatch.setattr(
        worker_process, "command", lambda fd: [module if word == "wherry.agent.worker" else word for word in honest(fd)]
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def tries(directory: Path, target: Target, sandbox: Sandbox | None) -> tuple[dict[str, bool], dict[str, bool]]:
    """What worked while the model was loaded, and what worked when it was warm."""
    model, golden = directory / "model", directory / "golden"
    model.write_text(json.dumps(target._asdict()))
    zeros = (bytes(16),)
    golden.write_bytes(encode_golden(GoldenSet(vectors=(GoldenVector(inputs=zeros, outputs={"litert": zeros}),))))
    load = Load(family="litert", inputs=(SPEC,), outputs=(SPEC,), warm_up=0, sandbox=sandbox)
    tolerance = Tolerance(family="litert", max_abs=0, min_cosine=1)
    with LiveWorker() as worker:
        worker.send(Handed(load, model))
        loading = heard(worker.said(Loaded).runtime_version)
        worker.send(Handed(SelfTest(tolerance=tolerance), golden))
        serving = heard(worker.said(Refused).reason)
    assert set(loading) == set(serving) == set(ATTEMPTS)
    return loading, serving


@pytest.mark.usefixtures("hostile_worker")
@pytest.mark.parametrize("sandbox", [pytest.param(OTHER_USER, id="other user", marks=as_root), SANDBOX])
def test_nothing_that_a_hijacked_runtime_tries_works(
    tmp_path: Path, target: Target, sandbox: Sandbox, tried: Tried
) -> None:
    loading, serving = tries(tmp_path, target, sandbox)
    assert {name for name, worked in serving.items() if worked} == set()
    assert {name for name, worked in loading.items() if worked} == ONLY_WHEN_LOCKED
    tried(f"{len(serving)} ways out when the model is warm, {len(loading)} while it is loaded")


def test_the_kernel_says_of_an_honest_worker_what_was_taken_from_it(tmp_path: Path) -> None:
    sandbox = USUAL
    tiny = TinyCase(tmp_path)
    order, path = tiny.load("tflite-runtime")
    with LiveWorker() as worker:
        worker.send(Handed(msgspec.structs.replace(order, sandbox=sandbox), path))
        worker.said(Loaded)
        proc = Path(f"/proc/{worker.process.pid}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
        limits = {line[:25].strip(): line[25:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        badness = int((proc / "oom_score_adj").read_text())
        worker.send(Stop())
        assert worker.ended().exit_code == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split() == [str(sandbox.uid or os.getuid())] * 4
    if IS_ROOT:
        assert (status["Groups"].split(), status["Gid"].split()) == ([], [str(NOBODY)] * 4)
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert limits["Max address space"] == [str(sandbox.memory_bytes)] * 2
    assert limits["Max open files"] == [str(sandbox.open_files)] * 2
    assert limits["Max file size"] == limits["Max core file size"] == ["0", "0"]
    assert limits["Max cpu time"][0] == str(sandbox.cpu_s)
    assert int(limits["Max processes"][0]) >= sandbox.processes
    assert badness > int(Path("/proc/self/oom_score_adj").read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_apps_are_answered_every_way_from_inside(tmp_path: Path, family: Family) -> None:
    """Which takes threads, an event loop and sockets that were lent: all there is, once nothing can be opened."""
    tiny = TinyCase(tmp_path)
    order, path = tiny.load(family)
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = [stack.enter_context(listening(tmp_path / name)) for name in ("main.sock", "main.fast.sock")]
        worker = stack.enter_context(LiveWorker())
        identity = Identity(model="tiny", version=1)
        worker.send(Handed(msgspec.structs.replace(order, sandbox=USUAL, identity=identity), path))
        worker.said(Loaded)
        files = [sock.fileno() for sock in (*unix, tcp)]
        worker.process.send(Serve(listeners=("http", "fast", "http"), files=3, window_s=60), files)
        worker.said(Serving)
        for _ in range(5):
            client = stack.enter_context(Client(directory=tmp_path))
            assert client.infer(tiny.x[:1]).stored[0].tobytes() == tiny.outputs(family)[0].tobytes()
        question = {"inputs": [{"name": "x", "shape": [1, 16], "datatype": "INT8", "data": tiny.x[0].tolist()}]}
        ways = (httpx.HTTPTransport(uds=str(tmp_path / "main.sock")), httpx.HTTPTransport())
        for transport in ways:
            with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{tcp.getsockname()[1]}") as http:
                answer = http.post("/v2/models/tiny/infer", json=question)
                assert answer.status_code == 200, answer.text
                assert answer.json()["outputs"][0]["data"] == tiny.outputs(family)[0].tolist()
        worker.send(Stop())
        window = worker.said(Window)
        assert (window.inferences, window.errors) == (7, 0)
        assert window.rss_bytes > 0
        worker.said(Stopped)
        assert worker.ended().exit_code == 0


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(64)
    return sock


@as_root
@pytest.mark.usefixtures("hostile_worker")
def test_on_a_board_without_libseccomp_user_and_landlock_still_hold_most(tmp_path: Path, target: Target) -> None:
    if sandbox_files.version() < sandbox_files.SCOPE_VERSION:
        pytest.skip("this kernel has no Landlock that closes TCP and signals")
    _, serving = tries(tmp_path, target, msgspec.structs.replace(OTHER_USER, seccomp=False))
    # Limits on threads hold forks. What `sigio` prepares Landlock stops when the signal is sent.
    left = {"fork", "dumpable", "memfd", "code", "sigio", "unshare"}
    assert {name for name, worked in serving.items() if worked} - left == set()


@pytest.mark.usefixtures("hostile_worker")
def test_without_a_sandbox_all_of_it_works(tmp_path: Path, target: Target) -> None:
    """The negative control: as far as the user may anyway."""
    needs_root = set() if IS_ROOT else {"unshare", "ptrace", "mem"}
    loading, serving = tries(tmp_path, target, None)
    assert {name for name, worked in loading.items() if not worked} <= needs_root
    assert {name for name, worked in serving.items() if not worked} <= needs_root


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sandbox_takes_nearly_no_speed(tmp_path: Path, family: Family, tried: Tried) -> None:
    """A ratio of two figures of the same minute. Locked down before its warm-up, XNNPACK would be 200 times slower."""
    pair = take_turns(tmp_path, family, scaled(2, soak=15))
    inside_ms, outside_ms = pair.run_ms
    added_ms = pair.start_ms[0] - pair.start_ms[1]
    tried(
        f"{outside_ms / inside_ms:.2f} times the speed outside ({inside_ms:.3g} and {outside_ms:.3g} ms, "
        f"{len(pair.inside)} pairs); a start takes {added_ms:.0f} ms more"
    )
    assert outside_ms / inside_ms > (0.9 if SOAKING else 0.5)
