"""`python -m wherry.agent.feeder --fd N`: wiring only. N is the inherited end of the socket to the supervisor.

What only one kind of feed needs is imported for that kind: a feeder of files carries neither OpenCV nor MQTT.
"""

import argparse
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from wherry.agent.config import FeedConfig, ResultsConfig
from wherry.agent.feeder.messages import MAX_LINE_BYTES, Job
from wherry.agent.worker.sandbox_limits import offer_to_the_oom_killer
from wherry.agent.worker.tether import ignore_interrupts, tie_to_parent

if TYPE_CHECKING:
    from wherry.agent.feeder.results import Sink
    from wherry.agent.feeder.samples import Source
    from wherry.agent.feeder.session import Session

WAIT_S = 600.0
"""For an answer, before the client is asked anew: a worker that hangs is killed by the supervisor long before."""


def main() -> int:
    """Exit status 1 where the source cannot be used in this process; the supervisor starts another one later."""
    parser = argparse.ArgumentParser(prog="wherry.agent.feeder", description="Started by the agent, not by hand.")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket to the supervisor")
    ignore_interrupts()
    tie_to_parent()
    offer_to_the_oom_killer()  # before the supervisor, which brings it back
    with socket.socket(fileno=parser.parse_args().fd) as sock:
        job = _job(sock)
        if job is None:
            return 0
        signal.signal(signal.SIGTERM, _leave)
        try:
            _feed(job, sock)
        except _Unusable as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


class _Unusable(Exception):
    """The source cannot be used in this process."""


def _job(sock: socket.socket) -> Job | None:
    """None where the supervisor is gone before it said anything."""
    data = b""
    while not data.endswith(b"\n") and len(data) < MAX_LINE_BYTES:
        piece = sock.recv(MAX_LINE_BYTES)
        if not piece:
            return None
        data += piece
    return msgspec.json.decode(data, type=Job)


def _feed(job: Job, sock: socket.socket) -> None:
    """For ever. Raises _Unusable."""
    from wherry.agent.feeder.report import Report

    report = Report(sock)
    report.start()  # before numpy is imported, which takes a slow card seconds

    from wherry.agent.client import Client
    from wherry.agent.feeder.feed import Feed
    from wherry.agent.feeder.samples import SourceStuck

    with contextlib.ExitStack() as stack:
        stack.callback(report.last)
        client = stack.enter_context(Client(job.slot, directory=job.sockets, timeout_s=WAIT_S))
        parts = stack.enter_context(_parts(job))
        try:
            Feed(client, *parts, report, job.feed.rate_hz).run()
        except SourceStuck as error:
            raise _Unusable(str(error)) from error


@contextlib.contextmanager
def _parts(job: Job) -> "Iterator[tuple[Source, list[Sink]]]":
    """Where samples come from, and where answers go. Raises _Unusable."""
    with contextlib.ExitStack() as stack:
        source = _source(job.feed)
        stack.callback(source.close)
        session = _session(job, source)
        if session is not None:
            stack.callback(session.close)
        sinks = [*_sinks(job.results, session)]
        for sink in sinks:
            stack.callback(sink.close)
        yield source, sinks


def _source(feed: FeedConfig) -> "Source":
    if feed.directory is not None:
        from wherry.agent.feeder.directory import Directory

        return Directory(Path(feed.directory))
    if feed.camera is not None:
        try:
            from wherry.agent.feeder.camera import Camera
        except ImportError as error:
            raise _Unusable(f"a camera needs OpenCV (pip install wherry[camera]): {error}") from error
        return Camera(feed.camera)
    from wherry.agent.feeder.inbound import Inbound

    return Inbound()


def _session(job: Job, source: "Source") -> "Session | None":
    """One for both ways, where there is any."""
    if job.feed.topic is None and job.results.topic is None:
        return None
    from wherry.agent.feeder.inbound import Inbound
    from wherry.agent.feeder.session import Session

    if not isinstance(source, Inbound):
        return Session(job.feed.broker, None, None)
    source.session = Session(job.feed.broker, job.feed.topic, source.heard)
    return source.session


def _sinks(results: ResultsConfig, session: "Session | None") -> "Iterator[Sink]":
    if results.log is not None:
        from wherry.agent.feeder.log_file import LogFile

        yield LogFile(Path(results.log), results.log_max_bytes)
    if results.topic is not None and session is not None:
        from wherry.agent.feeder.published import Published

        yield Published(session, results.topic)
    if results.command:
        from wherry.agent.feeder.callback import Callback

        yield Callback(results.command)


if __name__ == "__main__":
    sys.exit(main())
