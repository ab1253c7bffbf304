"""Which end of a rollout a script may take for a good one."""

import pytest

from wherry.controller.cli.follow import went_well


@pytest.mark.parametrize(
    ("kind", "state", "counts", "well"),
    [
        ("rollout", "completed", {"committed": 3}, True),
        ("rollout", "completed", {"committed": 3, "silent": 1}, True),
        ("rollout", "reverted", {"reverted": 1}, False),
        ("rollback", "completed", {"committed": 2, "incompatible": 1}, True),
        ("rollback", "completed", {"committed": 2, "reverted": 1}, False),
        ("rollback", "completed", {"committed": 2, "silent": 1}, False),
    ],
)
def test_a_rollback_is_good_only_where_every_device_came_back(
    kind: str, state: str, counts: dict[str, int], well: bool
) -> None:
    assert went_well({"kind": kind, "state": state, "counts": counts}) is well
