"""Runs the queued conversions, a few at a time, each in a child process.

Rules upheld here:
- The rows decide: what is queued is run, oldest first; what was running when a controller was killed is begun anew.
- A job ends in one transaction with its version; a child that dies ends its job, and is not tried again.
- The event loop never waits for a file: those are read and written in threads.
- Whatever fails here ends one job, and never the loop.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import structlog

from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.converter_process import ConverterProcess, explain, kill_marked
from wherry.controller.adapters.job_files import JobFiles, JobLog
from wherry.controller.adapters.package_dir import read_package
from wherry.controller.core.conversion_order import in_their_words, request
from wherry.controller.errors import ControllerError, Invalid, Unavailable
from wherry.controller.ledger import Ledger
from wherry.controller.operations import conversions
from wherry.controller.operations.conversions import Job, Result
from wherry.controller.tasks import cancel_once, to_the_end
from wherry.controller.telling import Telling
from wherry.protocol.conversion import ConversionRequest, Converted, Failed, Progress, Warned
from wherry.protocol.errors import MessageError

LOOK_EVERY_S = 5.0
"""A controller that stands by takes orders, too, and cannot wake this one."""

BUG_PAUSE_S = 1.0
END_TIMEOUT_S = 20.0
"""After its last word a child only has to clean up."""

_log = structlog.get_logger(__name__)


class Conversions:
    """`wake` after a job was queued; `stop` after one was cancelled. `program` is what converts."""

    def __init__(
        self,
        ledger: Ledger,
        artifacts: ArtifactStore,
        directory: Path,
        *,
        workers: int,
        program: Sequence[str],
    ) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._directory = directory
        self._files = JobFiles(directory, artifacts)
        self._program = program
        self._woken = [asyncio.Event() for _ in range(workers)]
        self._running: dict[int, asyncio.Task[None]] = {}

    def wake(self) -> None:
        for event in self._woken:
            event.set()

    def stop(self, job: int) -> None:
        """End the work on a job whose row has ended."""
        if job in self._running:
            cancel_once(self._running[job])

    def log(self, job: int) -> JobLog:
        return self._files.log(job)

    def report_page(self, job: int) -> Path:
        return self._files.report_page(job)

    async def run(self) -> None:
        """Until cancelled; then children are ended and their jobs are queued again."""
        while not await self._recovered():
            await asyncio.sleep(BUG_PAUSE_S)
        async with asyncio.TaskGroup() as group:
            for woken in self._woken:
                group.create_task(self._work(woken))

    async def _recovered(self) -> bool:
        try:
            await asyncio.to_thread(self._clean_up)
            await self._ledger.run(conversions.recover, now_s=time.time())
        except Exception:  # noqa: BLE001 - a full disk must not end the loop
            _log.exception("what was left running cannot be queued again; tried again")
            return False
        return True

    def _clean_up(self) -> None:
        """What the controller before this one left: its children first, since they write."""
        kill_marked(self._directory)
        self._files.sweep()

    async def _work(self, woken: asyncio.Event) -> None:
        while True:
            woken.clear()
            try:
                job = await self._ledger.run(conversions.take, now_s=time.time())
            except Exception:  # noqa: BLE001 - a full disk must not end the worker
                _log.exception("no conversion can be taken; tried again")
                await asyncio.sleep(BUG_PAUSE_S)
                continue
            if job is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), LOOK_EVERY_S)
            else:
                await self._attend(job)

    async def _attend(self, job: Job) -> None:
        """Run the job as a task that `stop` can cancel apart from the worker."""
        task = self._running[job.id] = asyncio.create_task(self._run(job), name=f"conversion {job.id}")
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancel_once(task)
            await asyncio.wait([task])
            await self._put_back(job)
            raise
        finally:
            del self._running[job.id]

    async def _put_back(self, job: Job) -> None:
        try:
            await self._ledger.run(conversions.put_back, job)
        except Exception:  # noqa: BLE001 - a full disk; the next controller finds it running, and begins it anew
            _log.exception("a conversion cannot be queued again", conversion=job.id)

    async def _run(self, job: Job) -> None:
        """To the end of the job's row, unless cancelled; nothing is left of it but its log."""
        try:
            outcome = await self._outcome(job)
            await self._settle(job, outcome)
        finally:
            await asyncio.to_thread(self._files.end, job.id)

    async def _outcome(self, job: Job) -> Result | tuple[Failed, bytes | None]:
        try:
            wanted = await to_the_end(partial(self._lay_out, job))
            last = await self._convert(job, wanted)
            if isinstance(last, Failed):
                told = msgspec.structs.replace(
                    last, message=self._told(job, last.message), fix=self._told(job, last.fix)
                )
                return told, await to_the_end(partial(self._report, job, last))
            return await to_the_end(partial(self._take_in, job, Path(wanted.out_dir)))
        except ControllerError as error:
            return Failed(kind=type(error).__name__, message=error.message, fix=error.fix), None
        except OSError as error:
            message = f"the controller cannot work on it: {error.strerror or error}"
            return Failed(kind="Unavailable", message=message, fix="see to room and rights in its data directory"), None
        except Exception as error:  # noqa: BLE001 - a bug ends the job, not the loop
            _log.exception("a conversion failed by a bug", conversion=job.id)
            return Failed(kind=type(error).__name__, message=str(error)[:2000], ours=True), None

    def _lay_out(self, job: Job) -> ConversionRequest:
        """Put the inputs where the child finds them. Raises Invalid or Unavailable."""
        work_dir = self._files.begin(job.id)
        self._files.log(job.id).append(f"attempt {job.attempt}\n".encode())
        given = job.order.inputs.items()
        paths = {part: str(self._files.lay_out(job.id, part, each)) for part, each in given if not each.callable}
        return request(
            job.order, lambda part: paths.get(part, ""), str(work_dir / "package"), str(self._files.cache_dir)
        )

    async def _convert(self, job: Job, wanted: ConversionRequest) -> Converted | Failed:
        """What the child said last, or why it said nothing. It is gone on return, whatever happened."""
        log = self._files.log(job.id)
        child = await ConverterProcess.start(self._program, self._files.work_dir(job.id), wanted)
        chatter = asyncio.create_task(_keep_chatter(child, log))
        try:
            async with Telling(lambda line: self._ledger.run(conversions.note_progress, job, line)) as telling:
                last = await self._listen(job, child, telling, log)
                status = await child.wait(END_TIMEOUT_S)
        finally:
            await child.stop()
            await asyncio.wait([chatter], timeout=END_TIMEOUT_S)
        return last or explain(status)

    async def _listen(
        self, job: Job, child: ConverterProcess, telling: Telling, log: JobLog
    ) -> Converted | Failed | None:
        """What it says last, None where it ends without; what comes before is noted."""
        said = ""
        async for line in child.lines():
            if isinstance(line, Converted | Failed):
                return line
            if isinstance(line, Progress):
                telling.note(line)
            else:
                told = msgspec.structs.replace(line, message=self._told(job, line.message))
                await self._ledger.run(conversions.note_warning, job, told)
            if (text := _text(line)) != said:
                await asyncio.to_thread(log.append, text.encode())
                said = text
        return None

    def _take_in(self, job: Job, out_dir: Path) -> Result:
        """Put the package's files into the artifact store. Raises Unavailable; a wrong package is a bug of ours."""
        try:
            package = read_package(out_dir)
        except Invalid as error:
            raise RuntimeError(f"the converters left a wrong package: {error.line}") from error
        if package.manifest.model != job.order.model:
            raise RuntimeError(f"the package is of the model {package.manifest.model}, not {job.order.model}")
        blobs = tuple(self._artifacts.put(path.read_bytes()) for _, path in package.blobs)
        return Result(manifest=package.manifest, report=package.report, blobs=blobs)

    def _told(self, job: Job, text: str) -> str:
        return in_their_words(job.order, text, str(self._files.work_dir(job.id)))

    def _report(self, job: Job, failed: Failed) -> bytes | None:
        """The report of a conversion that was carried out and refused."""
        made = Path(failed.report_dir)
        if not failed.report_dir or not made.is_relative_to(self._files.work_dir(job.id)):
            return None
        return self._files.keep_refusal(job.id, made)

    async def _settle(self, job: Job, outcome: Result | tuple[Failed, bytes | None]) -> None:
        """Write how it ended, however often that takes: a row that runs without a worker would run for ever."""
        while True:
            try:
                await self._write(job, outcome)
            except (ControllerError, MessageError) as error:
                ours = not isinstance(error, Unavailable)
                outcome = Failed(kind=type(error).__name__, message=str(error), ours=ours), None
            except Exception:  # noqa: BLE001 - a full disk; it is written when there is room
                _log.exception("the end of a conversion cannot be written; tried again", conversion=job.id)
                await asyncio.sleep(BUG_PAUSE_S)
            else:
                return

    async def _write(self, job: Job, outcome: Result | tuple[Failed, bytes | None]) -> None:
        now_s = time.time()
        if isinstance(outcome, Result):
            await self._ledger.run(conversions.succeed, job, outcome, keep=self._artifacts.put, now_s=now_s)
        else:
            failed, report = outcome
            await self._ledger.run(conversions.fail, job, failed, report=report, now_s=now_s)


async def _keep_chatter(child: ConverterProcess, log: JobLog) -> None:
    async for data in child.chatter():
        await asyncio.to_thread(log.append, data)


def _text(line: Progress | Warned) -> str:
    """A line of the log."""
    if isinstance(line, Progress):
        return f"[{line.step}/{line.steps}] {line.text}\n"
    return f"warning: {line.message}; {line.fix}\n"
