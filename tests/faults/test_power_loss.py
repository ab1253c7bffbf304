"""Power lost at every block that an update writes to ext4: what was saved is there, or something newer."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.memory_disk import memory_directory
from tests.support.power_loss import KINDS, lose_power, why_not
from tests.support.soak import scaled
from tests.support.update_voyage import Course

pytestmark = pytest.mark.slow

IMAGES: dict[Course, int] = {
    "good": scaled(680, soak=12_000),
    "bad": scaled(220, soak=4000),
    "sinking": scaled(220, soak=4000),
}
"""Together more than a thousand even where a tenth of them is not to be found."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with memory_directory(tmp_path_factory.mktemp("power")) as directory:
        if (reason := why_not(directory)) is not None:
            pytest.skip(reason)
        yield directory


@pytest.mark.parametrize(("course", "images"), IMAGES.items())
def test_a_power_cut_at_any_write_leaves_what_was_saved_and_an_agent_that_converges(
    base: Path, course: Course, images: int, tried: Tried
) -> None:
    outcomes = lose_power(base / course, course, images)
    kinds = Counter(outcome.kind for outcome in outcomes)
    tried(f"{len(outcomes)} images ({', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))})")
    assert [outcome for outcome in outcomes if outcome.problem] == []
    assert len(outcomes) >= 0.9 * images
    assert kinds.keys() == set(KINDS)
    assert {outcome.state for outcome in outcomes} >= {"empty", "self-test", "switch", "probation", "running"}


@pytest.mark.parametrize("sabotage", ["no-fsync", "one-copy"])
def test_a_store_without_fsync_or_with_one_copy_loses_what_it_saved(base: Path, sabotage: str, tried: Tried) -> None:
    """The negative control."""
    outcomes = lose_power(base / sabotage, "good", scaled(60, soak=120), sabotage)
    lost = [outcome for outcome in outcomes if outcome.problem and "were saved" in outcome.problem]
    tried(f"{len(lost)} of {len(outcomes)} images have lost something")
    assert lost
