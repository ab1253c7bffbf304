"""Blocks over HTTP, in a thread of its own that exists once something was asked.

Rules upheld here:
- Neighbours that wait together are fetched by one request, since on a slow link each costs a way there and back.
- What is asked for twice before it was answered is fetched once, so what waits is bounded by the blobs' sizes.
- Every block that was asked for is answered, unless it is forgotten: that is not fetched any more, and not answered.
- Nothing a server does holds the thread for long: see `ranges` and `slow_links`. Nothing at all ends it for good: what
  nobody foresaw is a reason too, and a thread that was lost or could not be started is started with the next question.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from wherry.agent.adapters.ranges import Ranges, Run, Unsuitable
from wherry.protocol.blob import BlobRef

if TYPE_CHECKING:
    from wherry.agent.adapters.slow_links import SlowLimits

RUN_BLOCKS = 16
"""At most so many in one request, 1 MiB. 5 MiB at 100 ms there and back and 1.25 MB/s took 13.0 s block by block and
5.6 s in runs as the window gives them (n = 2); the bytes alone take 4.2 s."""


class HttpBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one block, or for the list of hashes where `index` is None.

    `data` of the length asked for, or a reason why not.
    """

    digest: str
    index: int | None
    data: bytes | None = None
    reason: str = ""


_Key = tuple[str, int | None]
"""Digest and index of a block; None for the list of hashes."""


class HttpBlocks:
    def __init__(
        self, on_block: Callable[[HttpBlock], None], *, limits: "SlowLimits | None" = None, run_blocks: int = RUN_BLOCKS
    ) -> None:
        self._on_block, self._limits, self._run_blocks = on_block, limits, run_blocks
        self._wanted: dict[_Key, Run] = {}
        self._asked = threading.Condition()
        self._thread: threading.Thread | None = None

    def ask(self, artifacts_url: str, ref: BlobRef, index: int | None) -> None:
        """Fetch one block of `{artifacts_url}/{digest}`, or its `/hashes`; the answer comes to `on_block`.

        Never waits.
        """
        run = Run(url=f"{artifacts_url.rstrip('/')}/{ref.digest}", ref=ref, first=index)
        with self._asked:
            self._wanted.setdefault((ref.digest, index), run)
            self._asked.notify()
        if self._thread is None or not self._thread.is_alive():
            self._start(run)

    def _start(self, run: Run) -> None:
        self._thread = threading.Thread(target=self._run, name="http blocks", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._refuse(run, error)

    def forget(self, digest: str) -> None:
        """Nobody wants blocks of this blob any more."""
        with self._asked:
            self._wanted = {key: run for key, run in self._wanted.items() if key[0] != digest}

    def _run(self) -> None:
        ranges = None
        while True:
            run = self._oldest()
            try:
                ranges = ranges or self._ranges()
                self._fetch(ranges, run)
            except Unsuitable as error:
                self._answer_all(run, str(error))
            except Exception as error:  # noqa: BLE001  a bug, no memory, damaged certificates of the system
                _close(ranges)
                ranges = None
                self._refuse(run, error)

    def _ranges(self) -> Ranges:
        from wherry.agent.adapters.slow_links import SlowLimits

        return Ranges(self._limits or SlowLimits())

    def _refuse(self, run: Run, error: Exception) -> None:
        self._answer_all(run, f"{run.target}: {type(error).__name__}: {error}")

    def _answer_all(self, run: Run, reason: str) -> None:
        for index in _indices(run):
            self._answer(HttpBlock(digest=run.ref.digest, index=index, reason=reason))

    def _fetch(self, ranges: Ranges, run: Run) -> None:
        """Hand on block by block; leaves off where nobody wants the rest. Raises Unsuitable."""
        blocks, indices = ranges.blocks(run), _indices(run)
        try:
            for index, data in zip(indices, blocks, strict=False):
                self._answer(HttpBlock(digest=run.ref.digest, index=index, data=data))
                if not self._any_wanted(run):
                    return
        finally:
            blocks.close()

    def _oldest(self) -> Run:
        """What has waited longest, with the neighbours behind it. All stay wanted while they are fetched."""
        with self._asked:
            self._asked.wait_for(lambda: self._wanted)
            run = next(iter(self._wanted.values()))
            count = 1
            while count < self._run_blocks and self._goes_on(run, count):
                count += 1
            return msgspec.structs.replace(run, count=count)

    def _goes_on(self, run: Run, step: int) -> bool:
        neighbour = None if run.first is None else self._wanted.get((run.ref.digest, run.first + step))
        return neighbour is not None and neighbour.url == run.url

    def _any_wanted(self, run: Run) -> bool:
        with self._asked:
            return any((run.ref.digest, index) in self._wanted for index in _indices(run))

    def _answer(self, answer: HttpBlock) -> None:
        """Unless it is not wanted any more."""
        with self._asked:
            is_wanted = self._wanted.pop((answer.digest, answer.index), None) is not None
        if is_wanted:
            self._on_block(answer)


def _close(ranges: Ranges | None) -> None:
    """Nobody knows what state it is in."""
    if ranges is not None:
        with contextlib.suppress(Exception):
            ranges.close()


def _indices(run: Run) -> list[int | None]:
    return [None] if run.first is None else [run.first + step for step in range(run.count)]
