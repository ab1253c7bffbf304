"""What tests tried, or measured, belongs in the output: how many kills, how many megabytes."""

from collections.abc import Callable

import pytest

Tried = Callable[[str], None]
PROPERTY = "tried"


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
