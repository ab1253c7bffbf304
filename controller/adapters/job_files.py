"""The files of conversion jobs: `{id}.log`, and `{id}.html` of a refusal, for good; `work-{id}/` while one runs.

Rules upheld here:
- Inputs are copied from the artifact store and verified while copied; a job never touches the store.
- A file's name is ours, its suffix the client's: nothing that a client sends becomes a path.
- What a killed controller left in a working directory is swept before anything runs.
- A log is bounded: its newest bytes are kept.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock

from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.unpack import unpack
from wherry.controller.core.conversion_order import Input, Part
from wherry.controller.errors import Invalid, Unavailable
from wherry.protocol import limits

WORK = "work-"
MAX_LOG_BYTES = 256 * limits.KIB
MAX_REPORT_BYTES = 16 * limits.KIB * limits.KIB


class JobLog:
    """What one job said, its newest `max_bytes`; safe to call from several threads."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = Lock()

    def append(self, data: bytes) -> None:
        """Lost where the disk is full: a conversion does not fail for want of its log."""
        with self._lock, suppress(OSError):
            with self._path.open("ab") as file:
                file.write(data)
                grown = file.tell() > 2 * self._max_bytes
            if grown:
                self._path.write_bytes(self.read())

    def read(self) -> bytes:
        """The newest bytes, from the beginning of a line; empty where it said nothing."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return b""
        if len(data) <= self._max_bytes:
            return data
        return data[-self._max_bytes :].partition(b"\n")[2]


class JobFiles:
    """All of them, below `directory`, which is made where it is missing."""

    def __init__(self, directory: Path, artifacts: ArtifactStore) -> None:
        self._directory = directory
        self._artifacts = artifacts
        self.cache_dir = directory / "cache"
        self.cache_dir.mkdir(parents=True, exist_ok=True)

    def log(self, job: int) -> JobLog:
        return JobLog(self._directory / f"{job}.log")

    def report_page(self, job: int) -> Path:
        """Where the page of a refusal lies, if there is one."""
        return self._directory / f"{job}.html"

    def keep_refusal(self, job: int, made: Path) -> bytes | None:
        """Keep the page of the report in the directory `made`; the report itself, None where there is none."""
        page, report = made / "report.html", made / "report.json"
        if page.is_file():
            shutil.copyfile(page, self.report_page(job))
        if not report.is_file() or report.stat().st_size > MAX_REPORT_BYTES:
            return None
        return report.read_bytes()

    def work_dir(self, job: int) -> Path:
        return self._directory / f"{WORK}{job}"

    def begin(self, job: int) -> Path:
        """An empty working directory, with `tmp` for what the child throws away."""
        work_dir = self.work_dir(job)
        self.end(job)
        (work_dir / "tmp").mkdir(parents=True)
        return work_dir

    def lay_out(self, job: int, part: Part, given: Input) -> Path:
        """Copy an uploaded file into the working directory, a `.zip` unpacked. Raises Invalid or Unavailable."""
        assert given.digest is not None
        path = self.work_dir(job) / f"{part}{given.suffix}"
        self._copy(given.digest, path)
        if given.suffix != ".zip":
            return path
        directory = self.work_dir(job) / part
        try:
            unpack(path, directory)
        except Invalid as error:
            raise Invalid(f"{part}: {error.message}", error.fix) from error
        path.unlink()
        return _lone(directory) if part == "source" else directory

    def end(self, job: int) -> None:
        shutil.rmtree(self.work_dir(job), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what working directories there are."""
        for left in self._leftovers():
            shutil.rmtree(left, ignore_errors=True)

    def _leftovers(self) -> Iterator[Path]:
        return (path for path in self._directory.iterdir() if path.name.startswith(WORK))

    def _copy(self, digest: str, path: Path) -> None:
        whole = hashlib.sha256()
        with path.open("xb") as file:
            for block in self._artifacts.blocks(digest):
                whole.update(block)
                file.write(block)
        if whole.hexdigest() != digest:
            raise Unavailable(
                f"the artifact {digest} is damaged on disk",
                "delete that file in the data directory and upload it again",
            )


def _lone(directory: Path) -> Path:
    """The directory inside, where somebody packed `saved_model/` and not what is in it."""
    inside = list(directory.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else directory
