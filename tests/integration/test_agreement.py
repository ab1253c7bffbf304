"""Whether a version answers as its predecessor did on the same board: measured in the sandbox, judged for the fleet."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.support import dense_versions
from tests.support.cargo_hold import Version
from tests.support.flotilla import QUICK, Flotilla, sailing
from tests.support.live_worker import FAMILIES, Handed, LiveWorker, TinyCase
from tests.support.sandboxes import USUAL
from tests.support.tiny_model import Dense, random_dense
from tests.support.wait import wait_until
from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.client import Client
from wherry.agent.worker.messages import Loaded, SelfTested
from wherry.agent.worker.samples import read_samples
from wherry.controller.core.plan import WaveStep
from wherry.protocol.runtime import Family

pytestmark = pytest.mark.slow

ENOUGH = 3
WAVES = (WaveStep(amount=1), WaveStep(amount=100, percent=True))


def _exchanged(dense: Dense) -> Dense:
    """As good a model by itself, whose classes stand three places further: whoever uses it is told nonsense.

    By one place, one input of the feed has two classes with the same, highest score, and both models name the first.
    """
    return Dense(np.roll(dense.weights, 3, axis=0), dense.weight_scale, dense.input, dense.output)


@contextlib.contextmanager
def _kept(tiny: TinyCase, family: Family) -> Iterator[SampleFile]:
    """What an incumbent in its sandbox keeps while it is asked."""
    file = SampleFile(1 << 20)
    with LiveWorker("serving") as worker, contextlib.closing(file):
        _load(worker, tiny, family)
        with worker.asked(tiny.directory, 60.0, file) as client:
            wait_until(lambda: _asked(tiny, client, file), "inputs are kept")
            yield file


def _asked(tiny: TinyCase, client: Client, file: SampleFile) -> bool:
    tiny.ask(client, 5, np.zeros(1, np.int64))
    return len([*read_samples(file.writable)[1]]) >= ENOUGH


def _load(worker: LiveWorker, tiny: TinyCase, family: Family) -> None:
    order, path = tiny.load(family)
    worker.send(Handed(msgspec.structs.replace(order, sandbox=USUAL), path))
    worker.said(Loaded)


def _tested(tiny: TinyCase, family: Family, file: SampleFile) -> SelfTested:
    """The self-test of a candidate in its sandbox, with what the incumbent kept."""
    order, path = tiny.self_test(family)
    with LiveWorker() as worker:
        _load(worker, tiny, family)
        with path.open("rb") as golden:
            opened = file.open_for_reading()
            worker.process.send(msgspec.structs.replace(order, samples=True, files=2), [golden.fileno(), opened])
            os.close(opened)
        return worker.said(SelfTested)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_candidate_is_compared_with_what_the_incumbent_kept(tmp_path: Path, family: Family) -> None:
    tiny = TinyCase(tmp_path)
    with _kept(tiny, family) as file:
        same = _tested(tiny, family, file)
        assert same.ok
        assert same.compared >= ENOUGH
        assert same.agreed == same.compared
        assert f"the incumbent's class on {same.agreed} of {same.compared} inputs that it kept" in same.reason
        tiny.dense = _exchanged(tiny.dense)
        tiny.path.write_bytes(tiny.dense.file())
        other = _tested(tiny, family, file)
    assert other.ok, "its golden vectors are its own"
    assert (other.compared >= ENOUGH, other.agreed) == (True, 0)


def _version(number: int, dense: Dense) -> Version:
    return dense_versions.make(number, QUICK, dense=dense, tail=b" " * number)


def _roll_out(fleet: Flotilla, version: Version, state: str, **limits: float) -> str:
    rollout = fleet.begin(fleet.upload(version), waves=WAVES, min_samples=1, **limits)
    return str(fleet.await_end(rollout, state)["reason"])


def test_a_version_that_only_disagrees_is_taken_back_from_real_boards(tmp_path: Path) -> None:
    """It is as fast, as healthy and as sure of itself, and passes its own golden vectors. The control: without the
    limit it goes to everybody."""
    good = random_dense(dense_versions.FEATURES, dense_versions.CLASSES, seed=1)
    with sailing(tmp_path, "mosquitto") as fleet:
        fleet.launch("boat-1", "boat-2")
        _roll_out(fleet, _version(1, good), "completed", min_agreement=0.9)
        reason = _roll_out(fleet, _version(2, _exchanged(good)), "reverted", min_agreement=0.9)
        assert reason.startswith("wave 1 of 2: agreement: ")
        assert "inputs were answered as by the version before" in reason
        assert fleet.serving() == {"boat-1": "dense:1", "boat-2": "dense:1"}
        _roll_out(fleet, _version(3, good), "completed", min_agreement=0.9)
        assert fleet.serving() == {"boat-1": "dense:3", "boat-2": "dense:3"}
        told = fleet.get("/devices/boat-1")["device"]["slots"][0]["agreement"]
        assert told["agreed"] == told["compared"] > 0
        _roll_out(fleet, _version(4, _exchanged(good)), "completed")
