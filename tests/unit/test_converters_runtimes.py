"""A file in a runtime's child process: what becomes of it where room or memory runs out."""

import errno
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_model import Dense
from wherry.converters.verify import runtimes
from wherry.converters.verify.runtime_child import Job, run

NETWORK = Dense(np.eye(3, 4, dtype=np.int8))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "model.tflite").write_bytes(NETWORK.file())
    np.savez(tmp_path / "inputs.npz", **{"0": np.zeros((2, 1, 4), np.int8)})
    return Job(
        family=runtimes.installed()[0],
        model_path=str(tmp_path / "model.tflite"),
        inputs_path=str(tmp_path / "inputs.npz"),
        outputs_path=str(tmp_path / "outputs.npz"),
        repeated=1,
        least=1,
        box_s=1.0,
    )


def test_a_full_disk_is_told_as_such(job: Job, tmp_path: Path) -> None:
    (tmp_path / "outputs.npz").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        runtimes._in_child(job)
    assert caught.value.errno == errno.ENOSPC


def test_memory_that_does_not_hold_the_samples_is_a_result_with_a_reason(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_path: str) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "load", none)
    assert run(job).error == "MemoryError"
