"""What all tests share: a cache of their own, and a place to say how many kills and megabytes there were."""

import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
import structlog

from tests.support.postgres import create_database, reason_against, server
from wherry.controller.store.database import open_database

if threading.current_thread() is threading.main_thread():
    # A run that was started in the background has SIGINT ignored, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is drawn by default of an error, with every value of every frame, takes seconds.
PLAIN = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], PLAIN])

Tried = Callable[[str], None]
PROPERTY = "tried"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What conversions keep for the next run is neither taken from the user's home nor left there."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache-home"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real server, to which the name of a database is added."""
    reason = reason_against()
    if reason is not None:
        pytest.skip(reason)
    with server() as url:
        yield url


@pytest.fixture
def new_database(postgres: str) -> Callable[[], str]:
    """Makes an empty database and tells its URL."""
    return lambda: create_database(postgres, f"wherry-{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """The name of a database with its tables: migrating takes longer than most tests of what is in it."""
    open_database(create_database(postgres, "migrated")).close()
    return "migrated"


@pytest.fixture
def new_migrated_database(postgres: str, migrated: str) -> Callable[[], str]:
    """Makes a database with its tables and tells its URL."""
    return lambda: create_database(postgres, f"wherry-{uuid.uuid4().hex}", template=migrated)


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Tried:
    """Say in a few words what the test tried; told at the end of the run, from whichever process."""
    return lambda what: record_property(PROPERTY, what)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = [
        f"{report.nodeid.rpartition('::')[2]}: {what}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, what in report.user_properties
        if name == PROPERTY and report.when == "call"
    ]
    if told:
        terminalreporter.section("what was tried")
        for line in told:
            terminalreporter.line(line)
