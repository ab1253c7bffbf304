"""A board that is short of file descriptors: that says nothing about what is on its disk, and nothing is forgotten."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cargo_hold import make_version
from tests.support.rig import Rig

V1 = make_version(1)


@contextmanager
def _no_file_descriptors() -> Iterator[None]:
    """What is open stays open; nothing else can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_incumbent_that_cannot_be_opened_for_want_of_descriptors_is_started_again_without_a_controller(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path).boot()
    rig.deploy(1, V1)
    rig.link.disconnect()
    rig.settle()
    rig.retained.clear()
    rig.troubles = []
    with _no_file_descriptors():
        rig.yard.serving[0].die(-9, "killed by signal 9 (SIGKILL)")
        rig.wait(5)
        assert rig.yard.serving == []
        assert rig.slot.incumbent == V1.assignment.ref
    rig.wait(40)
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]
    assert rig.slot.state == "running"
    rig.cut()
