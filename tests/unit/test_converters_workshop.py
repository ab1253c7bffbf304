"""Passes in child processes: kept by content, ended for certain, and failures told as what they are.

Each case is a real child process; the passes are those below, put into the table of the child.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support import odd_passes
from tests.support.odd_passes import COPY, ODD, Count, How
from tests.support.wait import wait_until
from wherry.converters import workshop
from wherry.converters.cache import Cache, content_digest
from wherry.converters.errors import BadRequest, Exhausted, OutputError, ToolFailed
from wherry.converters.workshop import PassBug, Workshop

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, str(Path(odd_passes.__file__))]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.setattr(workshop, "PROGRAM", COMMAND)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "cache").mkdir()
    with Workshop(tmp_path / "scratch", Cache(tmp_path / "cache"), memory_bytes=0, timeout_s=60.0) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(b"once")
    return tmp_path / "source"


def runs(tmp_path: Path) -> int:
    """How often COPY was really carried out."""
    log = tmp_path / "scratch" / odd_passes.LOG
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_the_same_content_and_options_are_not_worked_out_again(shop: Workshop, source: Path, tmp_path: Path) -> None:
    first = shop.run(COPY, {"source": source}, How(times=2))
    assert (first.file("copy").read_bytes(), first.result, first.cached) == (b"onceonce", Count(bytes=8), False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"once")
    again = shop.run(COPY, {"source": elsewhere}, How(times=2))
    assert (again.file("copy").read_bytes(), again.result, again.cached) == (b"onceonce", Count(bytes=8), True)
    assert (runs(tmp_path), shop.cached) == (1, ["copy"])


def test_another_option_another_content_or_another_edition_is(shop: Workshop, source: Path, tmp_path: Path) -> None:
    shop.run(COPY, {"source": source}, How(times=1))
    shop.run(COPY, {"source": source}, How(times=2))
    source.write_bytes(b"twice")
    assert shop.run(COPY, {"source": source}, How(times=2)).file("copy").read_bytes() == b"twicetwice"
    shop.run(odd_passes.COPY_AGAIN, {"source": source}, How(times=2))
    assert runs(tmp_path) == 4


def test_what_no_digest_tells_is_never_kept(shop: Workshop, source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        shop.run(COPY, {"source": source}, How(), keep=False)
    assert runs(tmp_path) == 2


@pytest.mark.parametrize("damage", ["cut", "altered", "missing", "sums"])
def test_a_damaged_entry_is_worked_out_anew(shop: Workshop, source: Path, tmp_path: Path, damage: str) -> None:
    shop.run(COPY, {"source": source}, How())
    (entry,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    {
        "cut": lambda: (entry / "copy").write_bytes(b"on"),
        "altered": lambda: (entry / "copy").write_bytes(b"ONCE"),
        "missing": (entry / "copy").unlink,
        "sums": lambda: (entry / "sums.json").write_bytes(b"{"),
    }[damage]()
    again = shop.run(COPY, {"source": source}, How())
    assert (again.file("copy").read_bytes(), again.cached) == (b"once", False)
    assert shop.run(COPY, {"source": source}, How()).cached


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("refuse", BadRequest, "not so"),
        ("bug", PassBug, "KeyError"),
        ("memory", Exhausted, "more memory"),
        ("disk", OutputError, "no space left"),
        ("kill", Exhausted, "memory ran out"),
        ("segfault", ToolFailed, "SIGSEGV"),
        ("exit", ToolFailed, "ended with status 3"),
    ],
)
def test_each_way_to_fail_is_told_and_the_next_pass_is_carried_out(
    shop: Workshop, source: Path, what: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        shop.run(ODD, {}, How(what=what))
    assert shop.run(COPY, {"source": source}, How()).result == Count(bytes=4)


def test_a_pass_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "PROGRAM", COMMAND)
    with (
        Workshop(tmp_path, Cache(None), memory_bytes=0, timeout_s=0.5) as shop,
        pytest.raises(Exhausted, match=r"longer than 0\.5 s"),
    ):
        shop.run(ODD, {}, How(what="hang"))
    assert not [child for child in psutil.Process().children() if "odd_passes" in " ".join(child.cmdline())]


def test_a_limit_of_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "PROGRAM", COMMAND)
    with (
        Workshop(tmp_path, Cache(None), memory_bytes=1 << 30, timeout_s=60.0) as shop,
        pytest.raises(Exhausted, match="memory"),
    ):
        shop.run(ODD, {}, How(what="eat"))


def test_progress_is_said_while_a_pass_runs(shop: Workshop) -> None:
    told: list[tuple[int, int]] = []
    shop.run(ODD, {}, How(what="count"), say=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_child_lives_on_when_a_thread_that_worked_with_it_ends(shop: Workshop, source: Path) -> None:
    """The kernel kills it with the thread that started it, so that must be one that stays."""
    shop.start()
    (child,) = psutil.Process().children()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(shop.run, COPY, {"source": source}, How()).result()
    assert shop.run(COPY, {"source": source}, How(times=3)).result == Count(bytes=12)
    assert psutil.Process().children() == [child]


def test_a_closed_workshop_starts_nothing(shop: Workshop, source: Path) -> None:
    shop.close()
    with pytest.raises(RuntimeError, match="closed"):
        shop.run(COPY, {"source": source}, How())
    assert not psutil.Process().children()


def test_a_child_does_not_outlive_its_conversion(tmp_path: Path) -> None:
    """The parent is killed while its child works."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:  # pragma: no cover
        workshop.PROGRAM[:] = COMMAND
        shop = Workshop(tmp_path, Cache(None), memory_bytes=0, timeout_s=60.0)
        shop.run(ODD, {}, How(what="tell-pid", fd=0), say=lambda pid, _: os.write(writer, f"{pid}\n".encode()))
        os._exit(0)
    child = psutil.Process(int(os.read(reader, 64)))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child ends", 10.0)
    os.close(reader)
    os.close(writer)


def test_the_longest_unused_entries_go_first_and_only_while_nobody_uses_the_cache(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "old", "oldest"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_bytes(bytes(1000))
        at = time.time() - 1000 * age
        os.utime(tmp_path / name, (at, at))
    (tmp_path / ".new-half").mkdir()
    with Cache(tmp_path, max_bytes=2500).opened(), Cache(tmp_path, max_bytes=2500).opened():
        pass  # the inner one must not delete under the outer one
    kept = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert kept == {"new", "old"}
    with Cache(tmp_path, max_bytes=500).opened() as used, Cache(tmp_path, max_bytes=500).opened():
        del used
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_directory_is_told_by_its_files_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"1")
    before = content_digest(tmp_path / "a")
    (tmp_path / "a" / "b" / "x").rename(tmp_path / "a" / "b" / "y")
    assert content_digest(tmp_path / "a") != before


def test_a_cache_that_cannot_be_written_costs_time_only(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with Cache(tmp_path / "file" / "cache").opened() as cache:
        assert cache.find("0" * 64) is None
        assert cache.keep("0" * 64, tmp_path) == tmp_path
