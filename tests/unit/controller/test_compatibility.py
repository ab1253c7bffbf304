"""Choosing a variant by what the device probed."""

from typing import Any

import pytest

from tests.support.controller_values import LITERT_ONLY, TFLITE, make_birth, make_variant
from wherry.controller.core.compatibility import Fit, Misfit, choose
from wherry.protocol.manifest import Operator

NEW_OPERATOR = Operator(name="FULLY_CONNECTED", version=12, count=1)


def test_the_first_variant_that_fits_is_taken() -> None:
    variants = (make_variant("a", name="newer", floors=LITERT_ONLY), make_variant("a", name="anywhere"))
    assert choose(variants, make_birth(), "main") == Fit(variant="newer")
    assert choose(variants, make_birth(TFLITE), "main") == Fit(variant="anywhere")


def test_a_runtime_that_is_too_old_is_named_with_the_operator() -> None:
    variant = make_variant("a", floors=LITERT_ONLY, operators=(NEW_OPERATOR,))
    assert choose((variant,), make_birth(TFLITE), "main") == Misfit(
        reason="needs litert >= 1.0.0; the device has tflite-runtime 2.14.0 (FULLY_CONNECTED version 12)"
    )


def test_each_variant_has_its_reason() -> None:
    variants = (make_variant("a", name="x", floors=LITERT_ONLY), make_variant("a", name="y", arena_bytes=2**40))
    misfit = choose(variants, make_birth(TFLITE), "main")
    assert isinstance(misfit, Misfit)
    assert misfit.reason.startswith("x: needs litert >= 1.0.0; the device has tflite-runtime 2.14.0; y: needs 10995")


@pytest.mark.parametrize(
    ("probed", "reason"),
    [
        ({"disk_free_bytes": 10}, "bytes of disk; the device had 10 free"),
        ({"ram_bytes": 5}, "bytes of memory; the device has 5"),
        ({"slots": ("door",)}, "no slot 'main', only door"),
        ({"protocol_versions": (2,)}, "does not speak protocol version 1"),
        ({"runtimes": ()}, "no runtime that works"),
    ],
)
def test_what_is_missing_is_said(probed: dict[str, Any], reason: str) -> None:
    misfit = choose((make_variant("a"),), make_birth(**probed), "main")
    assert isinstance(misfit, Misfit)
    assert reason in misfit.reason
