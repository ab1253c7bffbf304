"""Versions that are no longer to be rolled out.

Rule upheld here: retiring changes nothing on any device, and what is being rolled out is not retired.
"""

from wherry.controller.errors import Conflict
from wherry.controller.operations import audit
from wherry.controller.operations.registry import VersionView, find_version, name_of, view
from wherry.controller.operations.uses import alias_uses, rollout_uses
from wherry.controller.store.database import Database


def retire(db: Database, text: str, *, reason: str = "", now_s: float, actor: str) -> VersionView:
    """Let nobody roll it out any more; it stays where it runs. Idempotent.

    Raises NotFound, or Conflict where a rollout of it is live or queued, or an alias names it.
    """
    with db.write() as session:
        row = find_version(session, text)
        if row.retired_s is None:
            uses = [*alias_uses(session, row), *rollout_uses(session, row)]
            if uses:
                raise Conflict(
                    f"{name_of(row)} is in use: {'; '.join(uses)}", "move the alias or end the rollout first"
                )
            row.retired_s = now_s
            audit.record(session, "version-retired", name_of(row), now_s=now_s, actor=actor, reason=reason)
        return view(session, row)


def unretire(db: Database, text: str, *, now_s: float, actor: str) -> VersionView:
    """Take it back into use. Idempotent. Raises NotFound."""
    with db.write() as session:
        row = find_version(session, text)
        if row.retired_s is not None:
            row.retired_s = None
            audit.record(session, "version-unretired", name_of(row), now_s=now_s, actor=actor)
        return view(session, row)
