"""Data that the user's own code makes, and everything that can go wrong with it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.sample_files import IDS, TABLE, refused, take
from wherry.converters.data.callables import AT_MOST_TIMES

LOADERS = """
import numpy as np

X = np.arange(12.0).reshape(4, 3)
NOT_CALLABLE = 3

def arrays(): return X
def pair(): return X, [0, 1, 2, 3]
def mapping(): return {"table": X, "ids": np.ones((4, 2), int), "y": [0, 1, 2, 3]}
def both(): return (X, np.ones((4, 2)))
def both_and_labels(): return (X, np.ones((4, 2))), np.arange(4)
def samples(): yield from X
def labelled(): return [(row, number) for number, row in enumerate(X)]
def batches(): yield X[:3], [0, 1, 2]; yield X[3:], [3]
def dicts(): return iter([{"table": row, "ids": [1, 2], "y": 0} for row in X])
def forever():
    number = 0
    while True:
        yield np.full(3, number)
        number += 1
def nothing(): return None
def no_samples(): return []
def ragged(): return [X[0], X[1, :2]]
def half_labelled(): return [(X[0], 1), X[1]]
def odd_tuple(): return X, X, X
def needy(path): return X
def failing(): raise KeyError("weights")
def leaving(): raise SystemExit(3)
def objects(): return np.array([{}, {}], object)

class Loader:
    @staticmethod
    def load(): return X
"""


@pytest.fixture
def loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "deck").mkdir()
    (tmp_path / "deck" / "__init__.py").touch()
    (tmp_path / "deck" / "loaders.py").write_text(LOADERS)
    (tmp_path / "deck" / "broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    path = [*sys.path]
    yield
    assert sys.path == path
    for name in [name for name in sys.modules if name.partition(".")[0] == "deck"]:
        del sys.modules[name]


@pytest.mark.usefixtures("loaders")
class TestCallables:
    @pytest.mark.parametrize("name", ["arrays", "pair", "samples", "labelled", "batches", "Loader.load"])
    def test_one_input_in_any_form(self, name: str) -> None:
        found = take(f"deck.loaders:{name}", TABLE)
        assert found.inputs["table"].tolist() == np.arange(12.0).reshape(4, 3).tolist()
        has_labels = name in ("pair", "labelled", "batches")
        assert (found.labels is not None and found.labels.tolist()) == (has_labels and [0, 1, 2, 3])

    @pytest.mark.parametrize("name", ["mapping", "both", "both_and_labels", "dicts"])
    def test_several_inputs_in_any_form(self, name: str) -> None:
        found = take(f"deck.loaders:{name}", TABLE, IDS)
        assert [values.shape for values in found.inputs.values()] == [(4, 3), (4, 2)]
        assert (found.labels is None) == (name == "both")

    def test_of_samples_without_end_some_are_taken_evenly(self) -> None:
        found = take("deck.loaders:forever", TABLE, limit=5)
        firsts = found.inputs["table"][:, 0]
        assert len(found) == 5
        assert firsts[0] == 0
        assert 0.7 * 5 * AT_MOST_TIMES < firsts[-1] < 5 * AT_MOST_TIMES

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("deck.loaders:missing", "the module deck.loaders has no missing"),
            ("deck.missing:load", "there is no module deck.missing"),
            ("dock:load", "there is no module dock"),
            ("deck.broken:load", "raised ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
            ("deck.loaders:NOT_CALLABLE", "is int and cannot be called"),
            ("deck.loaders:needy", "cannot be called without arguments: missing a required argument: 'path'"),
            ("deck.loaders:failing", "raised KeyError: 'weights' ("),
            ("deck.loaders:leaving", "raised SystemExit: 3 ("),
            ("deck.loaders:nothing", "returned NoneType, which is no data"),
            ("deck.loaders:no_samples", "gave no samples"),
            ("deck.loaders:ragged", "x is [3] in the first sample and [2] in another, 1"),
            ("deck.loaders:half_labelled", "y is [] in the first sample and missing in another, 1"),
            ("deck.loaders:odd_tuple", "gave a tuple of 3, which is neither inputs nor (inputs, label)"),
            ("deck.loaders:objects", "x holds Python objects"),
        ],
    )
    def test_what_goes_wrong_is_told(self, name: str, said: str) -> None:
        assert said in refused(name, TABLE).message

    def test_the_line_that_raised_is_named(self) -> None:
        line = next(number for number, text in enumerate(LOADERS.splitlines(), 1) if "def failing" in text)
        assert f"loaders.py:{line})" in refused("deck.loaders:failing", TABLE).message
