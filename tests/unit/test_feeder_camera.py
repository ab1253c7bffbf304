"""The source that is a camera, with what OpenCV opens as one: video files and pictures."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.wait import wait_until
from wherry.agent.feeder import camera
from wherry.agent.feeder.camera import Camera
from wherry.agent.feeder.pictures import Picture
from wherry.agent.feeder.samples import Bad, Idle, Item, Sample, SourceStuck
from wherry.protocol.manifest import Preprocessing, TensorSpec

SPEC = TensorSpec(name="x", shape=(1, 24, 32, 3), dtype="float32", preprocessing=Preprocessing(color="bgr"))
LEVELS = (0, 60, 120, 180)
Open = Callable[[str], Camera]


def video(path: Path) -> str:
    """A film of four pictures, each of one level."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for level in LEVELS:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return str(path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr(camera, "RETRY_BASE_S", 0.02)
    monkeypatch.setattr(camera, "RETRY_LIMIT_S", 0.1)
    monkeypatch.setattr(camera, "WAIT_S", 0.2)
    cameras: list[Camera] = []

    def open_one(name: str) -> Camera:
        cameras.append(Camera(name))
        return cameras[-1]

    yield open_one
    for one in cameras:
        one.close()
        one._thread.join(20)


def next_sample(source: Camera) -> Sample:
    def found() -> Item | None:
        item = source.take([SPEC])
        return item if isinstance(item, Sample) else None

    item = wait_until(found, "a picture")
    assert isinstance(item, Sample)
    return item


def test_a_film_is_taken_picture_by_picture_and_begins_anew(tmp_path: Path, opened: Open) -> None:
    source = opened(video(tmp_path / "film.avi"))
    samples = [next_sample(source) for _ in range(10)]
    assert [round(float(sample.inputs[0].mean()), -1) for sample in samples] == [*LEVELS, *LEVELS, *LEVELS[:2]]
    assert [sample.origin for sample in samples[:2]] == [{"frame": 1}, {"frame": 2}]
    assert samples[0].inputs[0].shape == SPEC.shape


def test_a_directory_of_pictures_is_taken_in_name_order(tmp_path: Path, opened: Open) -> None:
    for index, level in enumerate(LEVELS):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), level, np.uint8))
    (tmp_path / "1b.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("none either")
    source = opened(str(tmp_path))
    samples = [next_sample(source) for _ in range(6)]
    assert [float(sample.inputs[0].mean()) for sample in samples] == [*LEVELS, *LEVELS[:2]]
    assert samples[1].origin == {"file": "1.png", "frame": 2}


def test_a_camera_that_is_not_there_is_told_and_tried_again_until_it_is(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "film.avi"
    source = opened(str(path))

    def told() -> bool:
        item = source.take([SPEC])
        return isinstance(item, Idle) and "cannot be opened" in item.reason

    wait_until(told, "it is told")
    video(tmp_path / "whole.avi")
    (tmp_path / "whole.avi").rename(path)
    assert next_sample(source).inputs[0].shape == SPEC.shape


class Lamp:
    """Stands for a device: gives a picture whenever asked, which a file does not, and can go away."""

    gone = threading.Event()
    silent = threading.Event()
    shown = 0

    def __init__(self, name: str) -> None:
        self.is_there = not Lamp.gone.is_set()

    def read(self) -> tuple[Picture | None, str]:
        if Lamp.silent.wait(0.001):
            threading.Event().wait(1.0)  # a read that takes its time
        if Lamp.gone.is_set() or not self.is_there:
            return None, ""
        Lamp.shown += 1
        return np.full((24, 32, 3), Lamp.shown % 200, np.uint8), ""

    def close(self) -> None:
        pass


@pytest.fixture
def lamp(monkeypatch: pytest.MonkeyPatch) -> type[Lamp]:
    Lamp.gone.clear()
    Lamp.silent.clear()
    Lamp.shown = 0
    monkeypatch.setattr(camera, "_Device", Lamp)
    return Lamp


def test_of_a_live_camera_the_newest_picture_is_taken(lamp: type[Lamp], opened: Open) -> None:
    source = opened("0")
    first = next_sample(source)
    wait_until(lambda: lamp.shown >= 30, "pictures pass by")
    assert int(next_sample(source).origin["frame"]) >= 30 > int(first.origin["frame"])


def test_a_camera_that_goes_away_is_told_and_comes_back(lamp: type[Lamp], opened: Open) -> None:
    source = opened("0")
    number = int(next_sample(source).origin["frame"])
    lamp.gone.set()

    def went() -> bool:
        item = source.take([SPEC])
        return isinstance(item, Idle) and ("went away" in item.reason or "cannot be opened" in item.reason)

    wait_until(went, "it is told")
    lamp.gone.clear()
    assert int(next_sample(source).origin["frame"]) > number


def test_a_camera_that_hangs_is_given_up(lamp: type[Lamp], opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened("0")
    next_sample(source)
    monkeypatch.setattr(camera, "STUCK_S", 0.4)
    lamp.silent.set()

    def stuck() -> bool:
        try:
            source.take([SPEC])
        except SourceStuck as error:
            return "does not fail either" in str(error)
        return False

    wait_until(stuck, "it is given up")
    lamp.silent.clear()


def test_a_model_that_takes_no_picture_is_told(lamp: type[Lamp], opened: Open) -> None:
    source = opened("0")
    row = TensorSpec(name="row", shape=(1, 10), dtype="float32")
    assert isinstance(source.take([SPEC, SPEC]), Idle)
    wait_until(lambda: isinstance(source.take([row]), Bad), "a picture that is none for it")
