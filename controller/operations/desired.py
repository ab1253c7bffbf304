"""The desired documents: changed in the transaction of whoever decides, published after it.

The database holds every intent; the broker's retained copy may be lost at any time. Whoever
publishes asks `pending_publications` after every change and on a timer, and tells `mark_published`.
"""

from wherry.controller.store.database import Database
from wherry.protocol.down.desired import Assignment, Desired
from wherry.protocol.types import Struct

REPUBLISH_AFTER_S = 30.0


class Publication(Struct, frozen=True, kw_only=True):
    """`published_s` is when this very document was last published; None if never."""

    device: str
    desired: Desired
    published_s: float | None


def assign(db: Database, device: str, slot: str, version: str, *, now_s: float, actor: str) -> Assignment:
    """Want `version` (`digits:3`) in the slot of one device, in the variant that fits it.

    Bumps the generation in the same transaction. Idempotent: what is wanted already is left alone.
    Raises NotFound; Conflict where a live rollout has the device and slot, or no variant fits.
    """
    raise NotImplementedError


def pending_publications(
    db: Database,
    *,
    now_s: float,
    artifacts_url: str | None = None,
    republish_after_s: float = REPUBLISH_AFTER_S,
) -> list[Publication]:
    """What to publish now: documents never published, and those published `republish_after_s` ago or
    more that the device has still not accepted. With 0, every document that the device lags behind.
    """
    raise NotImplementedError


def all_publications(db: Database, *, artifacts_url: str | None = None) -> list[Publication]:
    """Every device's document: for a broker that has lost what it retained."""
    raise NotImplementedError


def mark_published(db: Database, device: str, *, epoch: int, generation: int, now_s: float) -> None:
    """Record that the broker has taken the document. Ignored where a newer one was marked."""
    raise NotImplementedError
