"""Where the sockets of the data plane are, and who is told where that is not what was asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

from wherry.agent.adapters import sockets
from wherry.agent.config import Config, DataPlaneConfig
from wherry.agent.errors import SocketUnusable

NOBODY = 65534

AS_NOBODY = f"""
import os, sys
from wherry.agent.adapters import sockets
from wherry.agent.config import Config, DataPlaneConfig
from wherry.agent.errors import SocketUnusable

config = Config(device="boat-1", fleet="f", state_dir="/s", data_plane=DataPlaneConfig(directory=sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid({NOBODY})
try:
    with sockets.settled(config) as settled:
        print(settled.data_plane.directory)
except SocketUnusable as error:
    print("refused:", error)
"""


def _config(directory: Path) -> Config:
    return Config(device="boat-1", fleet="f", state_dir="/s", data_plane=DataPlaneConfig(directory=str(directory)))


def _as_nobody(directory: Path) -> str:
    for parent in [directory, *directory.parents[:4]]:
        parent.chmod(parent.stat().st_mode | 0o055)  # pytest's own directories are for their user alone
    run = subprocess.run([sys.executable, "-c", AS_NOBODY, str(directory)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_a_directory_of_another_user_is_refused_and_not_replaced(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    directory.mkdir()
    directory.chmod(0o555)
    assert _as_nobody(directory).startswith(f"refused: {directory}: Permission denied; set data_plane.directory")


def test_a_directory_that_everybody_may_write_is_taken_by_everybody(tmp_path: Path) -> None:
    """The negative control."""
    directory = tmp_path / "sockets"
    directory.mkdir()
    directory.chmod(0o777)
    assert _as_nobody(directory) == str(directory)


def test_a_directory_that_is_missing_is_made_and_stays(tmp_path: Path) -> None:
    with sockets.settled(_config(tmp_path / "a" / "b")) as settled:
        assert settled == _config(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SocketUnusable, match="File exists"), sockets.settled(_config(tmp_path / "file")):
        pass


def test_under_a_state_directory_that_is_too_deep_the_sockets_are_elsewhere(tmp_path: Path) -> None:
    """A board must serve wherever its state is; only a place that was asked for by name is an error."""
    state_dir = tmp_path / ("deep" * 30)
    config = Config(
        device="boat-1", fleet="f", state_dir=str(state_dir),
        data_plane=DataPlaneConfig(directory=f"{state_dir}/sockets"),
    )  # fmt: skip
    with sockets.settled(config) as settled, sockets.listening(settled) as listening:
        assert len(listening["main"].files) == 2
        assert not settled.data_plane.directory.startswith(str(tmp_path))
    named = tmp_path / ("else" * 30)
    with (
        pytest.raises(SocketUnusable, match="longer than the 107 bytes"),
        sockets.settled(_config(named)) as settled,
        sockets.listening(settled),
    ):
        pass
