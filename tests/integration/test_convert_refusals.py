"""Real conversions that are refused: by the budget, or because model, data and labels do not fit together."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.conversion import convert, request
from wherry.converters.report import decode_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of conversions that ask what becomes of a network once it was built, which then need no TensorFlow."""
    return str(tmp_path_factory.mktemp("cache"))


def test_a_wrongly_scaled_calibration_is_refused_by_the_budget(digits: Path, tmp_path: Path) -> None:
    with np.load(digits / "train.npz") as data:
        np.savez(tmp_path / "scaled.npz", x=data["x"] / 255)
    out = tmp_path / "out"
    wanted = request(
        digits / "hasty.keras",
        tmp_path / "scaled.npz",
        out,
        evaluation=str(digits / "heldout-200.npz"),
        recipe={"remedies": {"order": []}},
    )
    conversion = convert(wanted)
    assert (conversion.status, conversion.failed.kind, conversion.failed.ours) == (2, "BudgetMissed", False)
    assert "accuracy falls from" in conversion.failed.message
    assert any("divided by 255" in message for message in conversion.warned), "said before anything was converted"
    assert "divided by 255" in conversion.failed.fix
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.refused", "scaled.npz"]
    assert conversion.failed.report_dir == str(tmp_path / "out.refused")
    report = decode_report((tmp_path / "out.refused" / "report.json").read_bytes())
    assert (report.outcome, report.variants[0].accepted) == ("refused", False)
    assert (tmp_path / "out.refused" / "report.html").read_bytes().startswith(b"<!")


def test_without_an_evaluation_agreement_is_the_budget(digits: Path, tmp_path: Path, cache_dir: str) -> None:
    budget = {"budget": {"min_agreement": 0.9}}
    given = digits / "hasty.keras", digits / "train.npz"
    held = request(*given, tmp_path / "held", recipe=budget, cache_dir=cache_dir)
    scores = convert(held).report.variants[0].runtimes[0].scores
    assert scores is not None
    assert 0.9 <= scores.agreement < 1.0
    assert scores.accuracy is None, "labels of the calibration are training labels"
    perfect = {"budget": {"min_agreement": 1.0}, "remedies": {"order": []}}
    missed = request(*given, tmp_path / "missed", recipe=perfect, cache_dir=cache_dir)
    failed = convert(missed).failed
    assert failed.kind == "BudgetMissed"
    assert "agrees with the float model" in failed.message


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("two_inputs", "DataError", "no array `"),
        ("any_size", "UnsupportedModel", "any_size.keras: the shape of input"),
        ("foreign_operator", "UnsupportedOperators", "Erfinv"),
    ],
)
def test_models_of_another_form_are_refused(
    odd_models: Path, digits: Path, tmp_path: Path, model: str, kind: str, said: str
) -> None:
    conversion = convert(request(odd_models / f"{model}.keras", digits / "heldout-200.npz", tmp_path / "out"))
    assert (conversion.status, conversion.failed.kind, conversion.failed.ours) == (2, kind, False)
    assert said in conversion.failed.message
    assert conversion.failed.fix
    assert list(tmp_path.iterdir()) == []


def test_data_and_labels_that_do_not_fit_the_model_are_refused(digits: Path, tmp_path: Path, cache_dir: str) -> None:
    np.savez(tmp_path / "small.npz", x=np.zeros((5, 8, 8, 1)))
    wanted = request(digits / "hasty.keras", tmp_path / "small.npz", tmp_path / "out", cache_dir=cache_dir)
    failed = convert(wanted).failed
    assert failed.kind == "DataError"
    assert "x is [5, 8, 8, 1], the model takes [N, 28, 28, 1]" in failed.message
    given = digits / "hasty.keras", digits / "heldout-200.npz"
    wanted = request(*given, tmp_path / "out", labels=("cat", "dog"), cache_dir=cache_dir)
    failed = convert(wanted).failed
    assert (failed.kind, failed.message) == ("BadRequest", "2 labels for a model with 10 classes")
