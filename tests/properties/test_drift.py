"""Distances between profiles, and how often chance alone or an honest change is called drift.

Every rate is printed with its N. The negative control judges the same worlds without the allowance for chance.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Tried
from tests.support.soak import scaled
from wherry.agent.core.drift import Baseline, drifted
from wherry.protocol.distances import clumping, psi, psi_noise, shift, shift_noise
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.profile import Profile

pytestmark = pytest.mark.slow

LIMITS = HealthLimits()
WORLDS = scaled(1200, soak=50_000)
COUNTS = st.dictionaries(st.integers(0, 9), st.integers(0, 5000), min_size=1)
BINS = st.lists(st.integers(0, 5000), min_size=10, max_size=10)
SURE, UNSURE = (0, 0, 0, 1, 2, 3, 4, 10, 20, 60), (5, 20, 30, 20, 10, 5, 5, 3, 1, 1)
Shares = Sequence[float]


@settings(deadline=None)
@given(COUNTS, COUNTS)
def test_psi_is_0_for_equal_counts_symmetric_and_never_negative(one: dict[int, int], other: dict[int, int]) -> None:
    assert psi(one, one) == 0
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, other) >= 0


@settings(deadline=None)
@given(BINS, BINS)
def test_shift_is_0_for_equal_counts_symmetric_and_within_its_range(one: list[int], other: list[int]) -> None:
    assert shift(one, one) == 0
    assert shift(one, other) == pytest.approx(shift(other, one))
    assert 0 <= shift(one, other) <= 0.9


@settings(deadline=None)
@given(
    st.lists(st.integers(100, 5000), min_size=2, max_size=10),
    st.lists(st.integers(100, 5000), min_size=10, max_size=10),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_both_grow_on_the_way_to_something_else(start: list[int], end: list[int], near: float, far: float) -> None:
    near, far = sorted((near, far))
    padded = start + [100] * (10 - len(start))

    def at(share: float) -> list[int]:
        """Shares of both ends, in so large counts that rounding and smoothing are lost."""
        mixed = [(1 - share) * a / sum(padded) + share * b / sum(end) for a, b in zip(padded, end, strict=True)]
        return [round(part * 10**12) for part in mixed]

    origin = at(0)
    assert psi(_by_class(origin), _by_class(at(near))) <= psi(_by_class(origin), _by_class(at(far))) + 1e-9
    assert shift(origin, at(near)) <= shift(origin, at(far)) + 1e-9


@settings(deadline=None)
@given(st.integers(0, 8))
def test_shift_is_how_far_confidence_moved(bins: int) -> None:
    one, other = [0] * 10, [0] * 10
    one[0] = other[bins] = 100
    assert shift(one, other) == pytest.approx(bins / 10)


def test_windows_alike_do_not_clump_and_windows_of_one_class_each_do() -> None:
    assert clumping([{0: 50, 1: 50}] * 10) == 1
    assert clumping([{i % 2: 100} for i in range(10)]) == pytest.approx(1000 / 9)
    assert clumping([]) == clumping([{}]) == clumping([{3: 100}] * 5) == 1


@pytest.mark.parametrize("classes", [2, 10, 64])
@pytest.mark.parametrize("samples", [100, 1000])
def test_chance_alone_stays_below_what_is_allowed_for_it(classes: int, samples: int, tried: Tried) -> None:
    rng = np.random.default_rng(classes * samples)
    beyond = unsure = 0
    for _ in range(WORLDS):
        shares = rng.dirichlet(np.ones(classes))
        one, other = rng.multinomial(samples, shares), rng.multinomial(samples, shares)
        bins = len([0 for a, b in zip(one, other, strict=True) if a + b >= 10]) + 1
        beyond += psi(_by_class(one), _by_class(other)) > psi_noise(bins, samples, samples)
        sure = rng.dirichlet(np.ones(10))
        a, b = rng.multinomial(samples, sure).tolist(), rng.multinomial(samples, sure).tolist()
        unsure += shift(a, b) > shift_noise(a, b, samples, samples)
    tried(f"{WORLDS} pairs of {samples}, {classes} classes: PSI beyond chance {beyond}, shift {unsure}")
    assert beyond <= 0.005 * WORLDS
    assert unsure <= 0.005 * WORLDS


class Board:
    """A scene that stays for a while: each spell of it is one mixture of classes, drawn around the board's own."""

    def __init__(self, rng: np.random.Generator, shares: Shares, *, steadiness: float) -> None:
        self._rng, self._shares, self._steadiness = rng, np.array(shares), steadiness

    def spell(self, inferences: int) -> npt.NDArray[np.int64]:
        alpha = np.maximum(self._shares * self._steadiness, 1e-3)
        return self._rng.multinomial(inferences, self._rng.dirichlet(alpha))

    def incumbent(self, spells: int, inferences: int) -> Baseline:
        parts = [self.spell(inferences) for _ in range(spells)]
        total = sum(parts[1:], parts[0])
        return Baseline(
            samples=int(total.sum()),
            predictions=_by_class(total),
            confidence=self._confidence(int(total.sum())),
            prediction_clumping=clumping([_by_class(part) for part in parts]),
        )

    def candidate(self, spells: int, inferences: int, sure: Shares = SURE) -> Profile:
        total = sum(self.spell(inferences) for _ in range(spells))
        assert not isinstance(total, int)
        return Profile(
            samples=int(total.sum()), predictions=_by_class(total), confidence=self._confidence(int(total.sum()), sure)
        )

    def _confidence(self, samples: int, sure: Shares = SURE) -> tuple[int, ...]:
        return tuple(self._rng.multinomial(samples, np.array(sure) / sum(sure)).tolist())


Even = np.full(10, 0.1)
REFERENCE = Profile(samples=1000, predictions=dict.fromkeys(range(10), 100), confidence=tuple(10 * n for n in SURE))


@pytest.mark.parametrize(
    ("steadiness", "shares"),
    [
        (1000.0, Even), (20.0, Even), (3.0, Even), (0.3, Even),
        (1000.0, [0.97, 0.03]), (3.0, [0.97, 0.03]), (0.3, [0.6, 0.3, 0.1]),
    ],
    ids=["steady", "moving", "wild", "one class at a time", "quiet", "quiet, moving", "few classes at a time"],
)  # fmt: skip
@pytest.mark.parametrize("reference", [REFERENCE, None], ids=["reference", "alone"])
def test_a_healthy_version_is_not_reverted_however_the_scene_moves(
    steadiness: float, shares: Shares, reference: Profile | None, tried: Tried
) -> None:
    worlds = WORLDS // 4
    rng = np.random.default_rng(int(steadiness))
    false = sum(
        drifted(LIMITS, board.candidate(2, 300), board.incumbent(20, 300), reference) is not None
        for board in (Board(rng, shares, steadiness=steadiness) for _ in range(worlds))
    )
    tried(f"{false} of {worlds} healthy versions called drifted ({false / worlds:.2%})")
    assert false <= 0.005 * worlds


def test_without_the_allowance_for_scenes_healthy_versions_are_reverted(tried: Tried) -> None:
    """Negative control: every window taken for a sample of its own."""
    worlds, false = WORLDS // 4, 0
    rng = np.random.default_rng(3)
    for _ in range(worlds):
        board = Board(rng, [0.6, 0.3, 0.1], steadiness=0.3)
        before = board.incumbent(20, 300)
        naive = Baseline(samples=before.samples, predictions=before.predictions, confidence=before.confidence)
        false += drifted(LIMITS, board.candidate(2, 300), naive, None) is not None
    tried(f"{false} of {worlds} healthy versions called drifted without it ({false / worlds:.1%})")
    assert false > 0.05 * worlds


def _collapsed(rng: np.random.Generator) -> Profile:
    return Profile(samples=600, predictions={int(rng.integers(10)): 600}, confidence=tuple(6 * n for n in SURE))


def _garbled(rng: np.random.Generator) -> Profile:
    """Classes at random, and unsure of them."""
    return Profile(
        samples=600, predictions=_by_class(rng.multinomial(600, Even)), confidence=tuple(6 * n for n in UNSURE)
    )


@pytest.mark.parametrize("make", [_collapsed, _garbled])
@pytest.mark.parametrize("reference", [REFERENCE, None], ids=["reference", "alone"])
def test_collapsed_and_garbled_versions_are_caught(
    make: Callable[[np.random.Generator], Profile], reference: Profile | None, tried: Tried
) -> None:
    worlds, caught = WORLDS // 4, 0
    rng = np.random.default_rng(7)
    for _ in range(worlds):
        caught += drifted(LIMITS, make(rng), Board(rng, Even, steadiness=20).incumbent(20, 300), reference) is not None
    tried(f"{caught} of {worlds} caught")
    assert caught >= 0.99 * worlds
    off = HealthLimits(prediction_psi=None, confidence_shift=None)
    assert drifted(off, make(rng), Board(rng, Even, steadiness=20).incumbent(20, 300), reference) is None


def _by_class(counts: Sequence[int] | npt.NDArray[np.int64]) -> dict[int, int]:
    return {index: int(count) for index, count in enumerate(counts) if count}
