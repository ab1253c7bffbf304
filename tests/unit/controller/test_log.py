"""The controller's log, on standard error."""

import sys
from collections.abc import Iterator

import pytest
import structlog

from wherry.controller.cli.controller import _log_to_stderr


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_an_error_is_told_with_its_frames_and_without_the_values_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    def carry_on(token: str) -> None:
        raise ZeroDivisionError(f"a bug with {len(token)} letters")

    _log_to_stderr()
    try:
        carry_on("s3cret-of-ann")
    except ZeroDivisionError:
        structlog.get_logger().exception("cannot go on")
    told = capsys.readouterr().err
    assert "cannot go on" in told
    assert "in carry_on" in told
    assert "a bug with 13 letters" in told
    assert "s3cret-of-ann" not in told.replace('carry_on("s3cret-of-ann")', "")
    assert len(told.splitlines()) < 15, told
    assert sys.stderr.isatty() or "\x1b" not in told
