"""Networks that eight bits harm, each in another way, and the remedy that helps it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wherry.converters.compress import bias
from wherry.converters.compress.histogram import Histogram, mse_range, percentile_range

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gains(compressed: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((compressed / "remedies.json").read_text())
    return found


def test_percentile_ranges_help_where_calibration_has_outliers(gains: dict[str, Any]) -> None:
    assert gains["spiky"]["percentile"] > gains["spiky"]["int8"] + 6


def test_equal_channels_help_where_their_ranges_differ(gains: dict[str, Any]) -> None:
    assert gains["unequal"]["equalized"] > gains["unequal"]["int8"] + 20


def test_corrected_biases_help_where_inputs_have_a_large_mean(gains: dict[str, Any]) -> None:
    assert gains["offset"]["corrected"] > gains["offset"]["int8"] + 6


def test_layers_kept_in_float_help_where_eight_bits_cannot_do(gains: dict[str, Any]) -> None:
    assert gains["delicate"]["mixed"][1] > gains["delicate"]["int8"] + 9
    assert gains["delicate"]["mixed"][2] > gains["delicate"]["int8"] + 20
    top = {cost[1].split("/")[1].split("_1")[0] for cost in gains["delicate"]["costs"][:2]}
    assert top == {"raised", "lowered"}


@pytest.mark.parametrize("network", ["spiky", "unequal", "offset", "delicate"])
def test_remedies_keep_their_word(gains: dict[str, Any], network: str) -> None:
    found = gains[network]
    assert found["equalized float"] > 80, "equalization changes no float result"
    assert found["percentile widened"] == found["mse widened"] == 0
    assert min(found["percentile"], found["mse"], found["corrected"]) > found["int8"] - 1.5
    shares = [share for _, _, share, _ in found["costs"]]
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert found["said"] == [[done, len(shares)] for done in range(1, len(shares) + 1)]


def test_the_cost_of_a_float_layer_is_what_the_file_grows_by(gains: dict[str, Any]) -> None:
    _, _, _, extra_bytes = gains["delicate"]["costs"][0]
    assert extra_bytes == 3 * 32 * 32
    assert abs(gains["delicate"]["grown"] - extra_bytes) < 700, "beside the scales and a QUANTIZE or two"


def test_what_cannot_be_quantized_is_refused_in_our_terms(gains: dict[str, Any]) -> None:
    assert gains["errors"] == {
        "no samples": "DataError",
        "wrong shape": "DataError",
        "nothing left": "UnsupportedModel",
        "not a model": "UnreadableModel",
    }


def test_percentiles_of_a_histogram_are_those_of_the_values_within_a_bin() -> None:
    values = np.random.default_rng(3).normal(size=200_000).astype(np.float32)
    seen = Histogram()
    for part in np.split(values, 8):
        seen.add(part)
    low, high = percentile_range(seen, 99.9)
    assert seen.count == len(values)
    assert low == pytest.approx(np.percentile(values, 0.1), rel=0.04)
    assert high == pytest.approx(np.percentile(values, 99.9), rel=0.04)
    assert percentile_range(seen, 100)[1] >= values.max()


@pytest.mark.parametrize("lowest", [-np.inf, 0.0])
def test_the_mse_range_is_that_of_a_search_over_all_values(lowest: float) -> None:
    rng = np.random.default_rng(4)
    values = np.maximum(rng.standard_t(3, size=100_000), lowest).astype(np.float32)
    seen = Histogram()
    seen.add(values)
    low, high = mse_range(seen)
    found = _square_error(values, low, high)
    tried = [_square_error(values, low and -limit, limit) for limit in np.geomspace(1, np.abs(values).max(), 60)]
    assert found < 1.05 * min(tried)
    assert found < 0.95 * _square_error(values, float(values.min()), float(values.max()))


def test_nothing_seen_gives_no_range() -> None:
    assert percentile_range(Histogram(), 99.9) == (0, 0)
    assert mse_range(Histogram()) == (0, 0)


@pytest.mark.parametrize(("padding", "stride", "dilation"), [(0, 1, 1), (0, 2, 1), (1, 1, 1), (1, 2, 1), (0, 1, 2)])
def test_the_mean_patch_counts_the_zeros_of_padding(padding: int, stride: int, dilation: int) -> None:
    class Options:
        strideH = strideW = stride  # noqa: N815
        dilationHFactor = dilationWFactor = dilation  # noqa: N815

    Options.padding = padding  # type: ignore[attr-defined]
    image = np.random.default_rng(5).normal(size=(1, 9, 8, 2))
    patch = bias.mean_patch(image, (3, 3), Options)
    assert patch == pytest.approx(_slow_mean_patch(image[0], 3, padding, stride, dilation))


def _square_error(values: Any, low: float, high: float) -> float:
    step = (high - low) / 255
    rounded = np.clip(np.rint(values / step), np.rint(low / step), np.rint(high / step)) * step
    return float(((rounded - values) ** 2).sum())


def _slow_mean_patch(image: Any, size: int, padding: int, stride: int, dilation: int) -> Any:
    """Position by position, from the definition of SAME (0) and VALID (1)."""
    span = (size - 1) * dilation + 1
    counts = [-(-n // stride) if padding == 0 else (n - span) // stride + 1 for n in image.shape[:2]]
    before = [max((c - 1) * stride + span - n, 0) // 2 if padding == 0 else 0 for c, n in zip(counts, image.shape)]  # noqa: B905
    total = np.zeros((size, size, image.shape[2]))
    for y, x, i, j in np.ndindex(*counts, size, size):
        row, column = y * stride + i * dilation - before[0], x * stride + j * dilation - before[1]
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            total[i, j] += image[row, column]
    return total / (counts[0] * counts[1])
