"""What the real supervisor, wired as on a board, has imported and holds in memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.broker import free_port

pytestmark = pytest.mark.slow

SUPERVISOR_LIMIT_BYTES = 45_000_000
FORBIDDEN = ("numpy", "tflite_runtime", "ai_edge_litert", "tensorflow")
RUN = """
import json, os, signal, sys, threading, time
started = time.perf_counter()
from wherry.agent.__main__ import main
import_ms = (time.perf_counter() - started) * 1000

def look():
    import psutil
    with open(sys.argv[1], "w") as file:
        rss = psutil.Process().memory_info().rss
        json.dump({"modules": sorted(sys.modules), "rss_bytes": rss, "import_ms": import_ms}, file)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Timer(3.0, look).start()
sys.exit(main(["--config", sys.argv[2]]))
"""


def test_the_supervisor_is_small_and_knows_no_runtime(tmp_path: Path, tried: Tried) -> None:
    config, found = tmp_path / "agent.toml", tmp_path / "found.json"
    config.write_text(f'device = "b"\nfleet = "f"\nstate_dir = "state"\n[broker]\nport = {free_port()}\n')
    subprocess.run([sys.executable, "-c", RUN, str(found), str(config)], check=True, stderr=subprocess.DEVNULL)
    seen = json.loads(found.read_text())
    tried(f"{seen['rss_bytes'] / 1e6:.1f} MB, import {seen['import_ms']:.0f} ms")
    assert "wherry.agent.adapters.probe" in seen["modules"]
    assert [name for name in seen["modules"] if name.split(".")[0] in FORBIDDEN] == []
    assert seen["rss_bytes"] < SUPERVISOR_LIMIT_BYTES
