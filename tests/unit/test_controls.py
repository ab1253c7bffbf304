"""A negative control that passes for the wrong reason is none."""

import pytest

from tests.support.controls import found_by
from wherry.agent.worker.messages import Stop


def _check() -> None:
    assert "right" == "wrong"


def test_a_check_of_the_tests_is_taken() -> None:
    with found_by():
        _check()
    with found_by("_check", "_another"):
        _check()


def test_another_check_than_the_one_that_was_meant_is_not() -> None:
    with pytest.raises(AssertionError, match="found by _check"), found_by("_another"):
        _check()


def test_nothing_found_is_not() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"), found_by():
        pass


def test_an_assert_of_the_product_is_not() -> None:
    from wherry.agent.adapters.worker_process import WorkerProcess

    with pytest.raises(AssertionError, match="the product's own assert"), found_by():
        WorkerProcess.send(None, Stop(), [1])  # type: ignore[arg-type]  # it looks at the order first
