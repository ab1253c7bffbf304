"""Whole conversions: several inputs, preprocessing, remedies, what is kept, and files that compute wrongly."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.conversion import Conversion, convert, request
from wherry.converters.report import decode_report
from wherry.protocol.manifest import Preprocessing
from wherry.protocol.runtime import Runtime, satisfies

pytestmark = pytest.mark.slow

FAMILIES = {"litert", "tflite-runtime"}

DYNAMIC_WI8 = """
import sys
from ai_edge_quantizer import quantizer, recipe
quantizer.Quantizer(sys.argv[1], recipe.dynamic_wi8_afp32()).quantize().export_model(sys.argv[2])
"""
"""The newer quantizer's own dynamic range quantization, which never raises an operator's version."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def hasty(digits: Path, out: Path, cache: Path, *variants: Any, **more: Any) -> Conversion:
    """The smallest network, judged on 200 digits."""
    wanted = request(
        digits / "hasty.keras",
        digits / "train.npz",
        out,
        *variants,
        evaluation=str(digits / "heldout-200.npz"),
        cache_dir=str(cache),
        **more,
    )
    return convert(wanted)


def test_a_second_run_repeats_only_what_depends_on_the_change(digits: Path, tmp_path: Path, cache: Path) -> None:
    first = hasty(digits, tmp_path / "first", cache)
    second = hasty(digits, tmp_path / "second", cache, "int8", "float16")
    assert set(second.report.cached) >= {"build", "predict", "calibrate", "compress"}
    assert second.report.cached.count("compress") == 1, "float16 is new"
    assert first.file("int8.tflite") == second.file("int8.tflite")
    assert first.file("int8.golden") == second.file("int8.golden")
    assert [variant.name for variant in second.manifest.variants] == ["int8", "float16"]
    other = request(digits / "hasty.keras", digits / "heldout.npz", tmp_path / "third", cache_dir=str(cache))
    third = convert(other)
    assert third.status == 0, third.failed
    assert "build" in third.report.cached
    assert "calibrate" not in third.report.cached


def test_layers_stay_in_float_until_the_budget_holds(digits: Path, tmp_path: Path, cache: Path) -> None:
    recipe = {"budget": {"min_agreement": 1.0}, "remedies": {"order": ["mixed"], "max_float_share": 1.0}}
    wanted = request(
        digits / "hasty.keras", digits / "train.npz", tmp_path / "out", recipe=recipe, cache_dir=str(cache)
    )
    conversion = convert(wanted)
    (variant,) = conversion.manifest.variants
    assert variant.name == "mixed"
    report = conversion.report
    none, remedy = report.remedies
    assert none.scores is not None
    assert none.scores.agreement < 1.0
    assert remedy.held
    assert 0 < len(remedy.kept_float) <= len(report.layer_costs)
    refused, mixed = report.variant("int8"), report.variant("mixed")
    assert refused is not None
    assert mixed is not None
    assert not refused.accepted
    assert "agrees with the float model" in refused.reason
    assert all(run.scores is not None and run.scores.agreement == 1.0 for run in mixed.runtimes)
    costs = [cost.noise_share for cost in report.layer_costs]
    assert costs == sorted(costs, reverse=True)
    assert {cost.layer for cost in report.layer_costs} == {"conv2d", "dense"}, "the author's own names"


def test_where_nothing_holds_the_report_says_which_layers_cost_what(digits: Path, tmp_path: Path, cache: Path) -> None:
    recipe = {"budget": {"min_agreement": 1.0}, "remedies": {"order": ["percentile", "mixed"], "max_float_share": 0.0}}
    wanted = request(
        digits / "hasty.keras", digits / "heldout.npz", tmp_path / "out", recipe=recipe, cache_dir=str(cache)
    )
    conversion = convert(wanted)
    assert (conversion.status, conversion.failed.kind) == (2, "BudgetMissed")
    assert [path.name for path in tmp_path.iterdir()] == ["out.refused"]
    report = decode_report((tmp_path / "out.refused" / "report.json").read_bytes())
    assert [tried.remedy for tried in report.remedies] == ["none", "percentile", "mixed"]
    assert not any(tried.held for tried in report.remedies)
    assert report.layer_costs
    assert {path.name for path in (tmp_path / "out.refused").iterdir()} == {"report.json", "report.html"}


def test_a_file_that_loads_and_computes_wrongly_is_caught(float_digits: Path, digits: Path, tmp_path: Path) -> None:
    """tflite-runtime 2.14 takes one scale for all channels of a dense layer, and says nothing."""
    source = tmp_path / "dynamic_wi8.tflite"
    subprocess.run(
        [sys.executable, "-c", DYNAMIC_WI8, str(float_digits / "float.tflite"), str(source)],
        check=True,
        capture_output=True,
    )
    wanted = request(source, digits / "train.npz", tmp_path / "out", evaluation=str(digits / "heldout-200.npz"))
    conversion = convert(wanted)
    results = {run.family: run for run in conversion.report.variants[0].runtimes}
    assert results["litert"].ok
    wrong = results["tflite-runtime"]
    assert not wrong.ok
    assert wrong.scores is not None, "it did load and run"
    assert wrong.scores.agreement < 0.9
    (variant,) = conversion.manifest.variants
    assert not satisfies(Runtime(family="tflite-runtime", version="2.14.0"), variant.runtimes)
    assert satisfies(Runtime(family="litert", version="2.3.0"), variant.runtimes)
    dense = [operator.version for operator in variant.operators if operator.name == "FULLY_CONNECTED"]
    assert dense == [12], "re-derived; the file says less"


def test_our_own_dynamic_form_computes_rightly_in_the_old_runtime(dynamic: Conversion) -> None:
    (variant,) = dynamic.report.variants
    assert {run.family for run in variant.runtimes if run.ok} == FAMILIES
    for run in variant.runtimes:
        assert run.scores is not None
        assert run.scores.accuracy_loss is not None
        assert run.scores.accuracy_loss <= 0.01


def test_several_inputs_each_have_their_data_and_goldens(odd_models: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arrays = {
        "image": rng.random((120, 28, 28, 1), np.float32),
        "other": rng.normal(size=(120, 4)).astype(np.float32),
    }
    np.savez(tmp_path / "data.npz", **arrays)
    wanted = request(
        odd_models / "two_inputs.keras",
        tmp_path / "data.npz",
        tmp_path / "out",
        "int8",
        "float16",
        recipe={"budget": {"min_agreement": 0.9}, "evaluation": {"task": "values"}},
    )
    conversion = convert(wanted)
    for variant in conversion.manifest.variants:
        assert {spec.name for spec in variant.inputs} == {"image", "other"}
        assert {tolerance.family for tolerance in variant.tolerances} == FAMILIES
        assert variant.reference is None, "values have no classes"
    assert (conversion.manifest.health.prediction_psi, conversion.manifest.health.confidence_shift) == (None, None)
    sizes = [spec.size_bytes for spec in conversion.manifest.variants[0].inputs]
    assert all([len(raw) for raw in vector.inputs] == sizes for vector in conversion.golden.vectors)


def test_preprocessing_is_applied_and_stands_in_the_manifest(digits: Path, tmp_path: Path, cache: Path) -> None:
    for name in ("train", "heldout-200"):
        with np.load(digits / f"{name}.npz") as data:
            np.savez(tmp_path / f"{name}.npz", x=(data["x"] * 255).round().astype(np.uint8), y=data["y"])
    wanted = request(
        digits / "hasty.keras",
        tmp_path / "train.npz",
        tmp_path / "out",
        evaluation=str(tmp_path / "heldout-200.npz"),
        preprocess=("unit",),
        cache_dir=str(cache),
    )
    conversion = convert(wanted)
    (variant,) = conversion.manifest.variants
    assert variant.inputs[0].preprocessing == Preprocessing(scale=1 / 255)
    assert variant.inputs[0].layout == "NHWC"
    prepared = hasty(digits, tmp_path / "prepared", cache)
    scores = [entry.report.variants[0].runtimes[0].scores for entry in (conversion, prepared)]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0].float_accuracy == scores[1].float_accuracy


def test_too_little_memory_is_said_and_leaves_nothing(digits: Path, tmp_path: Path) -> None:
    wanted = request(
        digits / "hasty.keras", digits / "train.npz", tmp_path / "out", recipe={"limits": {"memory_mb": 500}}
    )
    conversion = convert(wanted)
    assert (conversion.status, conversion.failed.kind, conversion.failed.ours) == (2, "Exhausted", False)
    assert "memory" in conversion.failed.message
    assert list(tmp_path.iterdir()) == []
