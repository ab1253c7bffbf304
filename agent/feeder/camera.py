"""The source that is a camera, or for trying out a video file or a directory of pictures.

Rules upheld here:
- Of a camera the newest picture is taken: what came meanwhile is old. Of a file every picture is taken in its turn,
  and at the end it begins anew.
- A camera that goes away is opened again after a wait with full jitter, for ever, and that is told.
- One that neither gives a picture nor fails holds up its own thread only; after `STUCK_S` the process is given up, as
  nothing else ends such a read.
"""

import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2

from wherry.agent.core.backoff import delay_s
from wherry.agent.feeder.pictures import NoPicture, Picture, bring
from wherry.agent.feeder.samples import Bad, Idle, Item, Sample, SourceStuck
from wherry.protocol.manifest import TensorSpec

WAIT_S = 1.0
"""For a picture, before it is said that none came."""

STUCK_S = 30.0
RETRY_BASE_S = 0.5
RETRY_LIMIT_S = 15.0
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


class _Frame(NamedTuple):
    number: int
    picture: Picture
    name: str = ""


class Opened(Protocol):
    """What pictures come from. See `_Device` and `_Pictures`."""

    def read(self) -> tuple[Picture | None, str]:
        """The next picture and its name; None at the end, or where the camera is gone."""

    def close(self) -> None: ...


class Camera:
    """See `samples.Source`. `name` is a number, a device, a URL, a video file, or a directory of pictures."""

    def __init__(self, name: str) -> None:
        cv2.setNumThreads(1)  # the cores are the model's
        self._name = name
        self._is_live = not Path(name).exists() or Path(name).is_char_device()
        self._changed = threading.Condition()
        self._frame: _Frame | None = None
        self._trouble = ""
        self._read_since_s = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def take(self, specs: Sequence[TensorSpec]) -> Item:
        if len(specs) != 1:
            return Idle(f"the model takes {len(specs)} inputs, a camera gives one", WAIT_S)
        frame = self._wait()
        if frame is None:
            return Idle(self._trouble or f"camera {self._name} gave no picture for {WAIT_S:g} s")
        origin: dict[str, str | int] = {"file": frame.name} if frame.name else {}
        try:
            return Sample([bring(frame.picture, specs[0])], None, origin | {"frame": frame.number})
        except NoPicture as error:
            return Bad(str(error))

    def take_dropped(self) -> int:
        """Pictures that were never taken are no loss: a camera has as many as one wants."""
        return 0

    def close(self) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify_all()

    def _wait(self) -> _Frame | None:
        """The picture whose turn it is. Raises SourceStuck."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None, WAIT_S)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
        if frame is None and time.monotonic() - self._read_since_s > STUCK_S:
            raise SourceStuck(f"camera {self._name} gave no picture for {STUCK_S:g} s, and does not fail either")
        return frame

    def _run(self) -> None:
        """Read for ever, in a thread of its own."""
        number = failures = 0
        while not self._closing.is_set():
            before = number
            number = self._read_through(number)
            self._trouble = "" if number > before else f"camera {self._name} cannot be opened, or gives no picture"
            if number > before and not self._is_live:
                continue  # the end of a file: it begins anew
            if number > before:
                self._trouble = f"camera {self._name} went away"
            failures = 1 if number > before else failures + 1
            self._rest(delay_s(failures, random.random(), base_s=RETRY_BASE_S, limit_s=RETRY_LIMIT_S))  # noqa: S311  jitter is no secret

    def _rest(self, wait_s: float) -> None:
        end_s = time.monotonic() + wait_s
        while not self._closing.is_set() and (left_s := end_s - time.monotonic()) > 0:
            self._read_since_s = time.monotonic()  # nothing is being read
            self._closing.wait(min(left_s, WAIT_S))

    def _read_through(self, number: int) -> int:
        """Give every picture until there is none, counted on from `number`."""
        self._read_since_s = time.monotonic()
        source = _opened(self._name)
        try:
            while not self._closing.is_set():
                self._read_since_s = time.monotonic()
                picture, name = source.read()
                if picture is None:
                    break
                number += 1
                self._give(_Frame(number, picture, name))
        finally:
            source.close()
        return number

    def _give(self, frame: _Frame) -> None:
        with self._changed:
            if not self._is_live:
                while self._frame is not None and not self._closing.is_set():
                    self._read_since_s = time.monotonic()
                    self._changed.wait(WAIT_S)
            self._frame = frame
            self._changed.notify_all()


def _opened(name: str) -> Opened:
    return _Pictures(Path(name)) if Path(name).is_dir() else _Device(name)


class _Device:
    """Whatever OpenCV opens: a camera, a stream, or a video file."""

    def __init__(self, name: str) -> None:
        self._capture = cv2.VideoCapture(int(name) if name.isdigit() else name)

    def read(self) -> tuple[Picture | None, str]:
        is_there, picture = self._capture.read()
        return (picture if is_there else None), ""

    def close(self) -> None:
        self._capture.release()


class _Pictures:
    """The pictures of a directory in name order. What is none is passed over."""

    def __init__(self, directory: Path) -> None:
        try:
            entries = sorted(path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError:
            entries = []
        self._left = iter(entries)

    def read(self) -> tuple[Picture | None, str]:
        for path in self._left:
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is not None:
                return picture, path.name
        return None, ""

    def close(self) -> None:
        """Nothing is held."""
