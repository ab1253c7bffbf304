"""The disk fails at one call of an update, or at all from then on: the agent serves on, and converges afterwards."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Tried
from tests.support.disk_troubles import ERRORS, SPANS, Trouble
from tests.support.soak import scaled
from tests.support.update_voyage import Course

pytestmark = pytest.mark.slow

STRIDES: dict[Course, int] = {"good": scaled(29, soak=1), "bad": scaled(47, soak=1)}
"""Of about 2,000 errors that calls can fail with, one in so many is tried."""


def _troubles(base: Path, *arguments: object) -> list[Trouble]:
    command = [sys.executable, "-m", "tests.support.disk_troubles", str(base), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True)
    sys.stderr.write(done.stderr.decode())  # tracebacks, for whoever reads why it failed
    return msgspec.json.decode(done.stdout, type=list[Trouble])


@pytest.mark.parametrize(("course", "stride"), STRIDES.items())
def test_an_error_at_any_call_stops_neither_what_serves_nor_the_update_that_is_asked_for_afterwards(
    base: Path, course: Course, stride: int, tried: Tried
) -> None:
    troubles = _troubles(base, course, stride)
    errors = Counter(trouble.error for trouble in troubles)
    tried(f"{len(troubles)} errors ({', '.join(f'{count} {name}' for name, count in sorted(errors.items()))})")
    assert [trouble for trouble in troubles if trouble.problem] == []
    assert len(errors) == len(ERRORS)
    assert {trouble.span for trouble in troubles} == set(SPANS)


@pytest.mark.parametrize("sabotage", ["errors-unexpected", "stops-on-trouble"])
def test_an_agent_that_does_not_expect_errors_dies_or_stops(base: Path, sabotage: str, tried: Tried) -> None:
    """The negative control."""
    troubles = _troubles(base, "good", 151, sabotage)
    found = [trouble for trouble in troubles if trouble.problem]
    tried(f"{len(found)} of {len(troubles)} errors found it out")
    assert found
