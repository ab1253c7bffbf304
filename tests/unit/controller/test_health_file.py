"""Health limits as a person writes them: in a file of their own, or in a recipe."""

from pathlib import Path

import pytest

from wherry.controller.cli import recipes
from wherry.controller.errors import Invalid
from wherry.protocol.manifest import HealthLimits

OFF = ("p95_ms", "worker_memory_bytes", "worker_growth_bytes", "prediction_psi", "confidence_shift")


@pytest.mark.parametrize("in_recipe", [False, True])
def test_a_limit_that_is_off_is_none(tmp_path: Path, in_recipe: bool) -> None:
    lines = "".join(f'{name} = "off"\n' for name in OFF) + "p95_ratio = 5\n"
    file = tmp_path / "limits.toml"
    file.write_text("[health]\n" + lines if in_recipe else lines)
    found = recipes.read(str(file), {}, None) if in_recipe else recipes.read("int8", {}, file)
    assert [getattr(found.health, name) for name in OFF] == [None] * len(OFF)
    assert found.health.p95_ratio == 5
    assert found.health.error_share == HealthLimits().error_share


@pytest.mark.parametrize("line", ['error_share = "off"', 'prediction_psi = "none"', "prediction_psi = 0"])
def test_what_cannot_be_off_or_is_no_number_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(line)
    with pytest.raises(Invalid):
        recipes.read("int8", {}, file)
