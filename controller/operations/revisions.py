"""Revisions: a short name for what an operator can change of a resource, by which two operators notice each other.

Rules upheld here:
- A revision changes whenever an order changed the resource, and not because a device reported or a gate judged: an
  order that was thought over for a minute must not be refused for what happens every second.
- It is compared in the transaction of the change, so nothing comes between.
"""

import hashlib
from collections.abc import Callable, Collection
from typing import TypeVar

import msgspec

from wherry.controller.errors import Changed
from wherry.controller.operations.registry import find_version, name_of
from wherry.controller.operations.rollout_view import find_rollout
from wherry.controller.store.database import Database
from wherry.controller.store.tables import AliasRow, GroupRow, PinRow

T = TypeVar("T")

Revision = Callable[[Database], str | None]
"""Looks up the present one; None where nothing is there yet, which an order may make. May raise NotFound."""

ANY = "*"
"""Among those that are expected: whichever, as long as there is something."""


def guarded(db: Database, expected: Collection[str], revision: Revision, operation: Callable[[Database], T]) -> T:
    """Do `operation` where the resource is at an `expected` revision. Raises Changed, and whatever it raises."""
    with db.together() as one:
        present = revision(one)
        if present is None or (ANY not in expected and present not in expected):
            raise Changed(present)
        return operation(one)


def of_rollout(db: Database, rollout: int) -> str:
    """Raises NotFound."""
    with db.read() as session:
        row = find_rollout(session, rollout)
        return _digest(row.id, row.plan, row.state, row.wave, row.ending, row.restore_from, row.overrides)


def of_version(db: Database, text: str) -> str:
    """Of what `digits:3`, `digits@stable` or `digits` names now. Raises Invalid or NotFound."""
    with db.read() as session:
        row = find_version(session, text)
        return _digest(name_of(row), row.content_digest, row.notes, row.retired_s)


def of_alias(db: Database, model: str, alias: str) -> str | None:
    with db.read() as session:
        row = session.get(AliasRow, (model, alias))
        return None if row is None else _digest(model, alias, row.version, row.changed_s, row.changed_by)


def of_group(db: Database, name: str) -> str | None:
    with db.read() as session:
        row = session.get(GroupRow, name)
        return None if row is None else _digest(name, row.query, row.changed_s, row.changed_by)


def of_pin(db: Database, device: str, slot: str) -> str | None:
    with db.read() as session:
        row = session.get(PinRow, (device, slot))
        return None if row is None else _digest(device, slot, row.reason, row.pinned_s, row.pinned_by)


def _digest(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
