"""For negative controls: what is wrong must be found by a check of the tests, not by an `assert` of the product."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@contextmanager
def found_by(*checks: str) -> Iterator[None]:
    """Passes where an assertion fails in the function of one of these names; without names, in any of the tests."""
    with pytest.raises(AssertionError) as caught:
        yield
    last = caught.traceback[-1]
    assert Path(last.path).is_relative_to(TESTS), f"the product's own assert, in {last.path}:{last.lineno + 1}"
    assert not checks or last.name in checks, f"found by {last.name}"
