"""The operator's way back: a whole fleet to one version, at once, in one command."""

from wherry.controller.core.plan import Target
from wherry.controller.operations.rollouts import RolloutView
from wherry.controller.store.database import Database

DEADLINE_S = 3600.0


def rollback(
    db: Database,
    model: str,
    version: int | None = None,
    *,
    slot: str = "main",
    target: Target | None = None,
    device_deadline_s: float = DEADLINE_S,
    now_s: float,
    actor: str,
) -> RolloutView:
    """Assign `version` to every device of the target that has the model in the slot, without waves.

    Without a version: the one that the fleet ran before, that is the newest earlier rollout that
    was completed with another version. Live rollouts of the model and slot are aborted in the same
    transaction. What comes back is a rollout of the kind `rollback`: one wave, no gates but the
    deadline, to be watched like any other; devices that cannot run the version, or have it in
    quarantine, are in it with the reason. Idempotent: a live rollback to the same version is returned.
    Raises NotFound, or Conflict where there is nothing to go back to.
    """
    raise NotImplementedError
