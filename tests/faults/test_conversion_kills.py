"""Conversions on a real controller that is killed, whose child is killed, or that is told to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Tried
from tests.support import fake_converter
from tests.support.controller_process import ControllerProcess
from tests.support.conversion_desk import ConversionClient, converters, work_dirs
from tests.support.fake_converter import HANGING, Script
from tests.support.soak import scaled
from tests.support.wait import wait_until
from wherry.protocol.blob import sha256

pytestmark = pytest.mark.slow

LIMIT_S = 100.0


@contextmanager
def _controller(directory: Path, **config: object) -> Iterator[ControllerProcess]:
    controller = ControllerProcess(directory, **config)
    try:
        yield controller
    finally:
        controller.stop()
        wait_until(lambda: not converters(controller.data_dir), "no converter outlives its controller")


@contextmanager
def _client(controller: ControllerProcess) -> Iterator[ConversionClient]:
    with httpx.Client(base_url=f"{controller.started.url}/api/v1", timeout=30) as client:
        yield ConversionClient(client)


def _kept(controller: ControllerProcess, what: str, salt: str) -> bool:
    return (controller.data_dir / "artifacts" / sha256(f"{what} {salt} int8".encode())).exists()


Moment = Callable[[ControllerProcess, ConversionClient, int, str], object]
MOMENTS: dict[str, tuple[bool, Moment]] = {
    "it is queued": (False, lambda controller, client, number, salt: True),
    "its inputs are laid out": (False, lambda controller, client, number, salt: work_dirs(controller.data_dir)),
    "its child runs": (False, lambda controller, client, number, salt: converters(controller.data_dir)),
    "it is in the second step": (False, lambda controller, client, number, salt: client.get(number)["text"] == HANGING),
    "its package is there": (
        True,
        lambda controller, client, number, salt: any(
            (path / "package").exists() for path in work_dirs(controller.data_dir)
        ),
    ),
    "one file is in the store": (True, lambda controller, client, number, salt: _kept(controller, "artifact", salt)),
    "all files are in the store": (True, lambda controller, client, number, salt: _kept(controller, "golden", salt)),
    "the version is registered": (True, lambda controller, client, number, salt: client.versions(salt)),
}
"""When the controller is killed; whether the child may go on before."""

TRIED = [*MOMENTS.items()][scaled(1, soak=0) :: scaled(2, soak=1)]
"""One each before there is a child, while it runs, while its package is taken in, and after; in soak all."""


def test_a_controller_killed_at_any_moment_ends_with_exactly_one_version(tmp_path: Path, tried: Tried) -> None:
    with _controller(tmp_path, converter=fake_converter.__file__) as controller:
        for point, (moment, (opened, reached)) in enumerate(TRIED):
            salt, gate = f"m{point}", tmp_path / f"gate-{point}"
            with _client(controller) as client:
                number = client.ask(Script(salt=salt, gate=str(gate)), model=salt)
                if opened:
                    client.await_text(number, HANGING)
                    gate.touch()
                # It may be over before it is looked at: what matters is the end, and nothing waits for long.
                wait_until(
                    lambda: reached(controller, client, number, salt) or not client.get(number)["live"],  # noqa: B023
                    moment,
                )
                controller.kill()
            gate.touch()
            controller.start()
            with _client(controller) as client:
                done = client.await_end(number, "succeeded")
                assert (client.versions(salt), done["version"]) == ([1], 1), moment
                assert done["attempts"] <= 2, moment
                assert work_dirs(controller.data_dir) == [], moment
                assert [action for action in client.actions() if action == "conversion-succeeded"] == (
                    ["conversion-succeeded"] * (point + 1)
                )
    tried(f"{len(TRIED)} moments at which the controller was killed")


def test_a_child_that_outlives_a_killed_controller_is_ended_by_the_next_one_and_ends_nothing(tmp_path: Path) -> None:
    """The negative control: without workers nothing converts, so it was none of the killed one's that did above."""
    killed = ControllerProcess(tmp_path, converter=fake_converter.__file__)
    with _client(killed) as client:
        number = client.ask(Script(end="cling"))
        client.await_text(number, "clinging")
    killed.kill()
    assert len(converters(killed.data_dir)) == 2, "they do not end by themselves"
    with (
        _controller(tmp_path, converter=fake_converter.__file__, conversion_workers=0) as controller,
        _client(controller) as client,
    ):
        wait_until(lambda: client.get(number)["state"] == "queued", "it is queued again")
        assert (converters(controller.data_dir), work_dirs(controller.data_dir), client.versions()) == ([], [], [])


MAKE = """
import sys
from wherry.converters.passes.spare import spare_imports
spare_imports()
import keras, numpy
keras.utils.set_random_seed(1)
net = keras.Sequential([keras.layers.Input((16,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(4, "softmax")])
net.save(sys.argv[1] + "/net.keras")
numpy.savez(sys.argv[1] + "/train.npz", x=numpy.random.default_rng(1).normal(size=(64, 16)).astype("float32"))
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Keras model that was never trained, and inputs for it."""
    directory = tmp_path_factory.mktemp("network")
    subprocess.run([sys.executable, "-c", MAKE, str(directory)], check=True, capture_output=True)
    return directory


def _convert(client: ConversionClient, network: Path) -> int:
    parts = {"source": "net.keras", "calibration": "train.npz"}
    body = {part: client.put((network / name).read_bytes(), name) for part, name in parts.items()}
    recipe = "[budget]\nmin_agreement = 0\n[remedies]\norder = []"
    answer = client.post({"model": "digits", "recipe": recipe, **body})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["id"])


def _works(client: ConversionClient, number: int) -> bool:
    """The first step has begun, which loads TensorFlow."""
    return bool(client.get(number)["step"] >= 1)


def test_a_real_conversion_is_cancelled_fails_with_its_process_and_outlives_its_controller(
    tmp_path: Path, network: Path
) -> None:
    with _controller(tmp_path) as controller:
        with _client(controller) as client:
            for end in ("cancelled", "failed"):
                number = _convert(client, network)
                wait_until(lambda: _works(client, number), "TensorFlow is at work", LIMIT_S)  # noqa: B023
                if end == "cancelled":
                    assert client.client.post(f"/conversions/{number}/cancel").json()["state"] == "cancelled"
                else:
                    os.kill(_leader(controller), signal.SIGKILL)
                done = client.await_end(number, end)
                wait_until(lambda: not converters(controller.data_dir), "nothing of it runs on")
                wait_until(lambda: not work_dirs(controller.data_dir), "nothing of it lies about")
                assert (done["attempts"], client.versions()) == (1, [])
            assert (done["failure"]["kind"], "SIGKILL" in done["failure"]["message"]) == ("Killed", True)
            number = _convert(client, network)
            wait_until(lambda: _works(client, number), "TensorFlow is at work", LIMIT_S)
            before = converters(controller.data_dir)
            controller.kill()
        controller.start()
        with _client(controller) as client:
            done = client.await_end(number, "succeeded", LIMIT_S)
            assert (client.versions(), done["version"], done["attempts"]) == ([1], 1, 2)
            assert not [pid for pid in before if psutil.pid_exists(pid)]
            assert "attempt 2" in client.log(number)
            assert client.client.get("/models/digits").json()["report"]
            assert work_dirs(controller.data_dir) == []


def _leader(controller: ControllerProcess) -> int:
    """The conversion process itself: the child of the controller among those that work for it."""
    return next(pid for pid in converters(controller.data_dir) if psutil.Process(pid).ppid() == controller.process.pid)
