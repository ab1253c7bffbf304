"""A package appears whole or not at all."""

import fcntl
import os
from pathlib import Path

import pytest

from wherry.converters.errors import OutputError
from wherry.converters.package import check_free, staging


def test_a_package_appears_with_its_files_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staging(out) as stage:
        (stage.scratch / "noise").write_text("noise")
        stage.write("manifest.json", b"{}")
        assert not out.exists()
        stage.publish()
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_failure_or_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def convert(error: type[BaseException]) -> None:
        with staging(tmp_path / "out") as stage:
            stage.write("manifest.json", b"{}")
            raise error

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            convert(error)
        assert list(tmp_path.iterdir()) == []


def test_the_remains_of_a_killed_run_are_swept_and_a_living_run_is_not(tmp_path: Path) -> None:
    dead, living, other = (tmp_path / name for name in (".out.partial-a", ".out.partial-b", ".else.partial-c"))
    for path in (dead, living, other):
        path.mkdir()
        (path / "part").write_text("half")
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with staging(tmp_path / "out"):
        pass
    os.close(lock)
    assert sorted(tmp_path.iterdir()) == sorted([living, other])


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out, said in ((taken, "exists"), (tmp_path / "dangling", "exists"), (tmp_path / "no" / "out", "no such dir")):
        with pytest.raises(OutputError, match=said):
            check_free(out)
