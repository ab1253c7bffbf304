"""What keeps a controller from starting is said in one line, and nothing is left running."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.broker import free_port, require_mosquitto
from wherry.controller import service
from wherry.controller.adapters import broker_process
from wherry.controller.adapters.data_dir import LOCK_FILE, claim
from wherry.controller.config import RUN_FILE, ControllerConfig, RunFile
from wherry.controller.errors import ControllerError, Invalid, NewerSchema, Unavailable
from wherry.controller.store.database import make_engine, open_database

pytestmark = pytest.mark.slow

Setting = dict[str, Any]
"""What the configuration says otherwise than by default, once the obstacle is there."""

Obstacle = Callable[[Path, ExitStack], Setting]


@contextmanager
def _listening(backlog: int = 5) -> Iterator[int]:
    """A port that takes connections, and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield listener.getsockname()[1]


def _http_port_taken(_: Path, stack: ExitStack) -> Setting:
    return {"http_port": stack.enter_context(_listening())}


def _mqtt_port_taken(_: Path, stack: ExitStack) -> Setting:
    return {"mqtt_port": stack.enter_context(_listening())}


def _address_of_others(_: Path, __: ExitStack) -> Setting:
    return {"host": "203.0.113.1", "insecure_bind": True}


def _open_to_others(_: Path, __: ExitStack) -> Setting:
    return {"host": "0.0.0.0"}


def _file_in_the_way(data_dir: Path, _: ExitStack) -> Setting:
    data_dir.write_text("a file")
    return {}


def _below_a_file(data_dir: Path, _: ExitStack) -> Setting:
    data_dir.write_text("a file")
    return {"data_dir": data_dir / "deeper"}


def _where_nobody_writes(_: Path, __: ExitStack) -> Setting:
    return {"data_dir": Path("/proc/wherry")}


def _another_controller(data_dir: Path, stack: ExitStack) -> Setting:
    stack.enter_context(claim(data_dir))
    return {}


def _newer_schema(data_dir: Path, _: ExitStack) -> Setting:
    path = data_dir / "controller.db"
    data_dir.mkdir()
    open_database(path).close()
    engine = make_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    return {}


def _no_database(data_dir: Path, _: ExitStack) -> Setting:
    (data_dir / "controller.db").mkdir(parents=True)
    return {}


def _no_artifacts(data_dir: Path, _: ExitStack) -> Setting:
    data_dir.mkdir()
    ControllerConfig(data_dir=data_dir).artifacts_dir.write_text("a file")
    return {}


def _no_markers(data_dir: Path, _: ExitStack) -> Setting:
    data_dir.mkdir()
    ControllerConfig(data_dir=data_dir).markers_dir.write_text("a file")
    return {}


def _no_broker_dir(data_dir: Path, _: ExitStack) -> Setting:
    data_dir.mkdir()
    ControllerConfig(data_dir=data_dir).broker_dir.write_text("a file")
    return {}


def _external_absent(_: Path, __: ExitStack) -> Setting:
    return {"broker": "external", "mqtt_port": free_port()}


def _external_unknown(_: Path, __: ExitStack) -> Setting:
    return {"broker": "external", "mqtt_host": "no-such-broker.invalid", "mqtt_port": 1883}


def _external_impossible(_: Path, __: ExitStack) -> Setting:
    return {"broker": "external", "mqtt_host": "x" * 70}


def _external_deaf(_: Path, stack: ExitStack) -> Setting:
    """Its queue is full: packets for a new connection are dropped, as for a host that is switched off."""
    port = stack.enter_context(_listening(backlog=0))
    for _ in range(2):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    return {"broker": "external", "mqtt_port": port}


def _external_mute(_: Path, stack: ExitStack) -> Setting:
    return {"broker": "external", "mqtt_port": stack.enter_context(_listening())}


REFUSALS: list[tuple[Obstacle, type[ControllerError], str]] = [
    (_http_port_taken, Unavailable, "for HTTP: Address already in use; choose another --http-port"),
    (_mqtt_port_taken, Unavailable, "is taken; choose another with --mqtt-port"),
    (_address_of_others, Unavailable, "cannot listen on 203.0.113.1:0 for HTTP"),
    (
        _open_to_others,
        Invalid,
        "refusing to listen on 0.0.0.0: the broker lets anybody in, and nothing is encrypted; leave --host",
    ),
    (_file_in_the_way, Unavailable, "cannot use the data directory"),
    (_below_a_file, Unavailable, "Not a directory; choose another with --data-dir"),
    (_where_nobody_writes, Unavailable, "cannot use the data directory /proc/wherry"),
    (_another_controller, Unavailable, "another controller runs on"),
    (_newer_schema, NewerSchema, "has the schema 9999, which this Wherry does not know"),
    (_no_database, Unavailable, "cannot use the database"),
    (_no_artifacts, Unavailable, "artifacts): File exists; choose another with --data-dir"),
    (_no_markers, Unavailable, "published): File exists; choose another with --data-dir"),
    (_no_broker_dir, Unavailable, "broker): File exists; choose another with --data-dir"),
    (_external_absent, Unavailable, "no broker answers at 127.0.0.1:"),
    (_external_unknown, Unavailable, "no broker answers at no-such-broker.invalid:1883"),
    (_external_impossible, Unavailable, f"no broker answers at {'x' * 70}"),
    (_external_deaf, Unavailable, "no broker answers at 127.0.0.1:"),
    (_external_mute, Unavailable, "does not let the controller in"),
]


async def _start(config: ControllerConfig) -> tuple[RunFile, int, int]:
    """Start and end one; where it answered, and the status of its API and of an artifact that it lacks."""
    async with service.running(config) as run_file, httpx.AsyncClient(base_url=f"{run_file.url}/api/v1") as client:
        status = await client.get("/status")
        artifact = await client.get(f"/artifacts/{'0' * 64}")
        return run_file, status.status_code, artifact.status_code


async def _try(config: ControllerConfig) -> ControllerError:
    with pytest.raises(ControllerError) as refused:
        await _start(config)
    async with asyncio.timeout(5):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
    return refused.value


def _nothing_runs(data_dir: Path) -> bool:
    if (data_dir / LOCK_FILE).exists():
        with claim(data_dir):
            assert not (data_dir / RUN_FILE).exists()
    return psutil.Process().children() == []


@pytest.mark.parametrize(
    ("obstacle", "kind", "words"), REFUSALS, ids=[obstacle.__name__[1:] for obstacle, *_ in REFUSALS]
)
def test_what_keeps_it_from_starting_is_one_line_and_leaves_nothing_running(
    tmp_path: Path, obstacle: Obstacle, kind: type[ControllerError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CONNECT_TIMEOUT_S", 0.5)
    for name in ("PORT_PATIENCE_S", "ACCEPT_TIMEOUT_S"):
        monkeypatch.setattr(broker_process, name, 0.5)
    data_dir = tmp_path / "data"
    with ExitStack() as stack:
        settings = {"data_dir": data_dir, "http_port": 0, "mqtt_port": 0, "broker": "auto"} | obstacle(data_dir, stack)
        refused = asyncio.run(_try(ControllerConfig(**settings)))
    assert isinstance(refused, kind)
    assert words in refused.line
    assert "\n" not in refused.line
    assert _nothing_runs(data_dir)


def test_without_an_obstacle_it_starts_and_leaves_nothing_running_either(tmp_path: Path) -> None:
    """The control: the same start is not refused; and a second one on the same directory and ports neither."""
    settings: Setting = {"http_port": 0, "mqtt_port": 0}
    for _ in range(2):
        run_file, *answers = asyncio.run(_start(ControllerConfig(data_dir=tmp_path / "data", **settings)))
        assert answers == [200, 404]
        assert _nothing_runs(tmp_path / "data")
        settings = {"http_port": int(run_file.url.rsplit(":", 1)[1]), "mqtt_port": run_file.mqtt_port}


def test_sessions_that_the_broker_cannot_read_are_set_aside(tmp_path: Path) -> None:
    require_mosquitto()
    database = tmp_path / "data" / "broker" / "mosquitto.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"garbage" * 100)
    _, *answers = asyncio.run(_start(ControllerConfig(data_dir=tmp_path / "data", http_port=0, mqtt_port=0)))
    assert answers == [200, 404]
    assert database.with_suffix(".damaged").exists()
    assert _nothing_runs(tmp_path / "data")
